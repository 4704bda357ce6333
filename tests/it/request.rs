//! A request and its answer, as client and endpoint see them.

use crate::support::{Endpoint, Setup};

#[test]
fn passes_a_request_on_and_its_answer_back() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let response = tidegate.get("/x?y=1");
    assert_eq!((response.status, response.text().as_str()), (200, "a"));
    let request = &a.requests()[0];
    assert_eq!(request.head.start, "GET /x?y=1 HTTP/1.1");
    assert_eq!(request.head.field("host"), Some("shop.test"));
    assert_eq!(tidegate.logged("/x?y=1")["endpoint"], "a");
}

#[test]
fn streams_an_answer_as_it_comes() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk("first");
    client.read_to("first");
    exchange.chunk("second");
    exchange.send("0\r\n\r\n");
    client.read_to("second\r\n0\r\n\r\n");
}

#[test]
fn refuses_drops_or_passes_names_with_underscores() {
    let a = Endpoint::start("a");
    let head = "GET /x HTTP/1.1\r\nhost: shop.test\r\nx_real_ip: 10.0.0.1\r\nx-other: 1\r\n\r\n";
    for (key, status, reached) in [
        ("reject", 400, None),
        ("drop", 200, Some(None)),
        ("pass", 200, Some(Some("10.0.0.1"))),
    ] {
        let tidegate = Setup::of(&[&a])
            .listener(&format!("underscores: {key}"))
            .start();
        let before = a.requests().len();
        let mut client = tidegate.connect();
        client.send(head);
        assert_eq!(client.response().status, status, "{key}");
        let requests = a.requests();
        let seen = requests.get(before).map(|it| it.head.field("x_real_ip"));
        assert_eq!(seen, reached, "{key}");
    }
}
