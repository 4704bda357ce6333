//! `tidegate check --ingress`: what existing Ingress manifests would come to.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::output::{count, plain};
use crate::kubernetes::{Manifests, Verdict};

/// Judges manifests. The judgement goes to stdout, what cannot be read to stderr; both that and an Ingress of which nothing
/// would be served fail.
#[must_use]
pub fn check_ingress(files: &[PathBuf]) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match report(files, &mut out, &mut err) {
        Ok(true) => ExitCode::SUCCESS,
        // Nobody is left to be told that a pipe is closed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn report(files: &[PathBuf], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let mut manifests = Manifests::default();
    let mut is_fine = true;
    for file in files {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => {
                for fault in manifests.add(&name, &text).err().into_iter().flatten() {
                    is_fine = false;
                    writeln!(err, "{name}:{fault}")?;
                }
            }
            Err(error) => {
                is_fine = false;
                writeln!(
                    err,
                    "{name}: cannot be read: {error}; name files with manifests, as kubectl get ingress -A -o yaml prints them"
                )?;
            }
        }
    }
    let judgements = manifests.judge();
    let (mut works, mut differs, mut fails) = (0, 0, 0);
    for judgement in &judgements {
        match judgement.verdict {
            Verdict::Works => works += 1,
            Verdict::Differs => differs += 1,
            Verdict::Fails => fails += 1,
        }
        writeln!(
            out,
            "{}: Ingress {}: {}",
            plain(&judgement.place),
            plain(&judgement.name),
            judgement.verdict
        )?;
        for (word, text) in &judgement.lines {
            writeln!(out, "  {word:<8} {}", plain(text))?;
        }
    }
    let passed_over = match manifests.others() {
        0 => String::new(),
        others => format!(
            "; {} of other kinds passed over",
            count(others as u64, "object")
        ),
    };
    let all = match judgements.len() {
        1 => "1 Ingress".to_owned(),
        all => format!("{all} Ingresses"),
    };
    writeln!(
        out,
        "{all}: {works} as they are, {differs} not in all, {fails} not at all{passed_over}"
    )?;
    Ok(is_fine && fails == 0)
}
