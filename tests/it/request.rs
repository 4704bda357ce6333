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
