//! Durations, sizes and shares as people write them.

use std::time::Duration;

/// Reads a duration: a number, which may have a fraction, and one of the units `ms`, `s`, `m`, `h`. `0s` is zero; a bare
/// number is refused, since nobody can know what it counts.
///
/// # Errors
/// What is wrong and what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    const RIGHT: &str = "should be a number and a unit, as 250ms, 30s or 5m";
    let (number, unit) = split(text).ok_or(RIGHT)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err(format!("has no unit: {RIGHT}")),
        _ => return Err(RIGHT.into()),
    };
    let number: f64 = number.parse().map_err(|_| RIGHT)?;
    let most = 366.0 * 86_400.0;
    if number * seconds > most {
        return Err("is too long: a year is the most".into());
    }
    // Rounded to whole microseconds, so that 0.1s is what it says.
    Ok(Duration::from_micros(
        (number * seconds * 1e6).round() as u64
    ))
}

/// Writes a duration the way [`duration`] reads it.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if !duration.as_micros().is_multiple_of(1000) => {
            format!("{}ms", duration.as_micros() as f64 / 1000.0)
        }
        0 => "0s".into(),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// Reads a number of bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
///
/// # Errors
/// What is wrong and what would be right.
pub fn size(text: &str) -> Result<u64, String> {
    const RIGHT: &str = "should be a whole number and a unit, as 64KiB or 10MiB";
    let (number, unit) = split(text).ok_or(RIGHT)?;
    let number: u64 = number.parse().map_err(|_| RIGHT)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if number == 0 => 1,
        _ => return Err(RIGHT.into()),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "is too large".into())
}

/// Writes a number of bytes the way [`size`] reads it.
#[must_use]
pub fn write_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units
        .iter()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    match whole {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// Writes a share the way [`percent`] reads it.
#[must_use]
pub fn write_percent(share: f64) -> String {
    // Rounded, so that 7% does not come back as 7.000000000000001%.
    format!("{}%", (share * 1e8).round() / 1e6)
}

/// Reads a share, `20%`, as a number from 0 to 1.
///
/// # Errors
/// What is wrong and what would be right.
pub fn percent(text: &str) -> Result<f64, String> {
    const RIGHT: &str = "should be a share from 0% to 100%";
    let number: f64 = text
        .strip_suffix('%')
        .ok_or(RIGHT)?
        .trim()
        .parse()
        .map_err(|_| RIGHT)?;
    if (0.0..=100.0).contains(&number) {
        Ok(number / 100.0)
    } else {
        Err(RIGHT.into())
    }
}

fn split(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_with_a_unit_only() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in [
            "30 parsecs",
            "30",
            "-5s",
            "5x",
            "",
            "s",
            "1.2.3s",
            "99999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_back_what_it_writes() {
        for text in ["0s", "250ms", "30s", "5m", "90s", "0.5ms"] {
            assert_eq!(write_duration(duration(text).unwrap()), text);
        }
        for text in ["0B", "1B", "64KiB", "3MiB", "1GiB", "1025B"] {
            assert_eq!(write_size(size(text).unwrap()), text);
        }
        for text in ["0%", "7%", "20%", "12.5%", "100%"] {
            assert_eq!(write_percent(percent(text).unwrap()), text);
        }
    }

    #[test]
    fn reads_sizes_and_shares() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert!(size("64").is_err());
        assert!(size("64KB").is_err());
        assert_eq!(percent("20%"), Ok(0.2));
        assert!(percent("0.2").is_err());
        assert!(percent("120%").is_err());
    }
}
