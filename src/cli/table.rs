//! Services as a table.

use std::iter;

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table,
};

use super::output::{count, plain, span};
use crate::admin::api::{Cut, Endpoint, Service};

/// For whom a table is drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Columns of the terminal; none draws every line whole.
    pub(super) width: Option<u16>,
    /// Whether states have colours.
    pub(super) color: bool,
}

/// The services, a line for each endpoint, and what is wrong with their sources below.
pub(super) fn services(services: &[Service], look: Look) -> String {
    let endpoints = || services.iter().flat_map(|service| &service.endpoints);
    let columns = Columns {
        address: endpoints().any(|endpoint| *endpoint.id != *endpoint.address.to_string()),
        pod: endpoints().any(|endpoint| endpoint.pod.is_some()),
    };
    let mut table = empty(look);
    table.set_header(
        columns
            .titles()
            .map(|title| Cell::new(title).add_attribute(Attribute::Bold)),
    );
    for service in services {
        if service.endpoints.is_empty() {
            table.add_row([plain(&service.name), "no endpoints".into()]);
        }
        for endpoint in &service.endpoints {
            table.add_row(columns.row(service, endpoint));
        }
    }
    let titles: Vec<_> = columns.titles().collect();
    for (column, title) in table.column_iter_mut().zip(titles) {
        column.set_padding((0, 2));
        // Where it is narrow, names are broken and nothing else.
        if !NAMES.contains(&title) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if title == IN_FLIGHT || title == CONNECTIONS {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    for service in services.iter().filter(|service| !service.source_up) {
        text.push_str(&blind(service));
    }
    text
}

/// What was cut, in words; empty when nothing was.
pub(super) fn cut(cut: Cut) -> String {
    [
        (cut.request, "request"),
        (cut.stream, "stream"),
        (cut.tunnel, "tunnel"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, kind)| count(number, kind))
    .collect::<Vec<_>>()
    .join(", ")
}

/// Which columns have something to say.
#[derive(Debug, Clone, Copy)]
struct Columns {
    address: bool,
    pod: bool,
}

impl Columns {
    fn titles(self) -> impl Iterator<Item = &'static str> {
        ["SERVICE", "ENDPOINT"]
            .into_iter()
            .chain(self.address.then_some("ADDRESS"))
            .chain(self.pod.then_some("POD"))
            .chain(["STATE", "REASON", IN_FLIGHT, CONNECTIONS, "DRAIN"])
    }

    fn row(self, service: &Service, endpoint: &Endpoint) -> Vec<Cell> {
        let or_dash = |text: Option<String>| Cell::new(text.unwrap_or_else(|| "-".into()));
        let pod = endpoint.pod.as_deref().map(plain);
        iter::once(Cell::new(plain(&service.name)))
            .chain([Cell::new(plain(&endpoint.id))])
            .chain(self.address.then(|| Cell::new(endpoint.address)))
            .chain(self.pod.then(|| or_dash(pod)))
            .chain([
                state(&endpoint.state),
                or_dash(endpoint.reason.as_deref().map(plain)),
                Cell::new(endpoint.in_flight),
                Cell::new(endpoint.connections),
                or_dash(drain(endpoint)),
            ])
            .collect()
    }
}

fn empty(look: Look) -> Table {
    let mut table = Table::new();
    // Never asks the terminal itself, so that a table depends on nothing but its arguments.
    table.force_no_tty().load_style(NOTHING);
    if look.color {
        table.enforce_styling();
    }
    if let Some(width) = look.width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    table
}

fn state(state: &str) -> Cell {
    let cell = Cell::new(plain(state));
    match state {
        "ready" => cell.fg(Color::Green),
        "draining" => cell.fg(Color::Yellow),
        "not_ready" | "suspect" => cell.fg(Color::Red),
        _ => cell.fg(Color::DarkGrey),
    }
}

/// How long it has been draining and may go on; what was cut, once it is over.
fn drain(endpoint: &Endpoint) -> Option<String> {
    let drain = endpoint.drain.as_ref()?;
    let cut = cut(drain.cut);
    if endpoint.state != "draining" {
        return (!cut.is_empty()).then(|| format!("cut {cut}"));
    }
    let left = drain
        .left_ms
        .map_or("no deadline".into(), |left| format!("{} left", span(left)));
    Some(format!("{}, {left}", span(drain.age_ms)))
}

fn blind(service: &Service) -> String {
    let fault = service.source_fault.as_deref().unwrap_or("no reason given");
    let age = service
        .source_age_ms
        .map_or("it has not seen any endpoints yet".into(), |age| {
            format!("what it saw is {} old and stays in force", span(age))
        });
    format!(
        "{}: its {} source cannot see: {}; {age}\n",
        plain(&service.name),
        service.source,
        plain(fault)
    )
}

/// The columns that can be broken.
const NAMES: [&str; 3] = ["SERVICE", "ENDPOINT", "POD"];
const IN_FLIGHT: &str = "IN FLIGHT";
const CONNECTIONS: &str = "CONNECTIONS";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::Drain;

    fn endpoint(id: &str, state: &'static str) -> Endpoint {
        Endpoint {
            id: id.into(),
            address: "10.0.0.1:80".parse().unwrap(),
            pod: None,
            state: state.into(),
            reason: None,
            weight: 1,
            zone: None,
            in_flight: 0,
            connections: 2,
            drain: None,
        }
    }

    fn service(endpoints: Vec<Endpoint>) -> Service {
        Service {
            name: "web".into(),
            source: "file".into(),
            source_up: true,
            source_fault: None,
            source_age_ms: Some(0),
            endpoints,
        }
    }

    fn leaving(id: &str) -> Endpoint {
        Endpoint {
            reason: Some("operator".into()),
            in_flight: 13,
            drain: Some(Drain {
                since: "2026-11-22T10:00:00.000Z".into(),
                age_ms: 12_100,
                deadline: Some("2026-11-22T10:00:30.000Z".into()),
                left_ms: Some(17_900),
                cut: Cut::default(),
                reason: "operator".into(),
            }),
            ..endpoint(id, "draining")
        }
    }

    #[test]
    fn shows_services_and_drains() {
        let all = [service(vec![endpoint("web-1", "ready"), leaving("web-2")])];
        assert_eq!(
            services(&all, Look::default()),
            "\
SERVICE  ENDPOINT  ADDRESS      STATE     REASON    IN FLIGHT  CONNECTIONS  DRAIN
web      web-1     10.0.0.1:80  ready     -                 0            2  -
web      web-2     10.0.0.1:80  draining  operator         13            2  12s, 17s left
"
        );
    }

    #[test]
    fn leaves_out_what_says_nothing() {
        let all = [service(vec![endpoint("10.0.0.1:80", "ready")])];
        let text = services(&all, Look::default());
        assert!(!text.contains("ADDRESS") && !text.contains("POD"), "{text}");
        let all = [service(vec![Endpoint {
            pod: Some("shop/web-1".into()),
            ..endpoint("10.0.0.1:80", "ready")
        }])];
        assert!(services(&all, Look::default()).contains("shop/web-1"));
    }

    #[test]
    fn shows_what_was_cut_and_what_has_no_deadline() {
        let mut over = leaving("web-3");
        over.state = "drained".into();
        let drain = over.drain.as_mut().unwrap();
        drain.cut = Cut {
            request: 2,
            stream: 0,
            tunnel: 1,
        };
        let mut lifted = leaving("web-4");
        lifted.drain.as_mut().unwrap().left_ms = None;
        let text = services(&[service(vec![over, lifted])], Look::default());
        assert!(text.contains("cut 2 requests, 1 tunnel"), "{text}");
        assert!(text.contains("12s, no deadline"), "{text}");
    }

    #[test]
    fn tells_of_blind_sources_and_empty_services() {
        let blind = Service {
            source_up: false,
            source_fault: Some("endpoints/web.yaml: no such file".into()),
            source_age_ms: None,
            ..service(vec![])
        };
        let text = services(&[blind], Look::default());
        assert!(text.contains("web      no endpoints"), "{text}");
        assert!(
            text.contains(
                "web: its file source cannot see: endpoints/web.yaml: no such file; it has not seen"
            ),
            "{text}"
        );
    }

    #[test]
    fn colours_states_only_where_asked() {
        let all = [service(vec![endpoint("web-1", "ready")])];
        let colored = Look {
            color: true,
            width: None,
        };
        assert!(services(&all, colored).contains("\u{1b}["));
        assert!(!services(&all, Look::default()).contains('\u{1b}'));
    }

    #[test]
    fn keeps_within_the_terminal() {
        let all = [service(vec![leaving(
            "a-rather-long-name-of-an-endpoint-in-a-cluster",
        )])];
        let narrow = Look {
            color: false,
            width: Some(80),
        };
        let text = services(&all, narrow);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}
