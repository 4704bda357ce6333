//! TLS to endpoints: a tidegate in front of another one, which is the endpoint.

use std::fs;

use crate::support::{Endpoint, Setup, StreamEndpoint, Tidegate, eventually};

/// Certificates for an endpoint and for who asks it, each its own authority.
struct Files {
    endpoint: (String, String),
    client: (String, String),
}

impl Files {
    fn new() -> Self {
        let make = |name: &str| {
            let names = [name.to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        Self {
            endpoint: make("web.test"),
            client: make("tidegate.test"),
        }
    }

    fn beside(&self, setup: Setup) -> Setup {
        setup
            .with_file("web.crt", &self.endpoint.0)
            .with_file("web.key", &self.endpoint.1)
            .with_file("own.crt", &self.client.0)
            .with_file("own.key", &self.client.1)
    }

    /// The endpoint: another tidegate.
    fn endpoint(&self, behind: &Endpoint, keys: &str) -> Tidegate {
        let tls = format!("tls: {{ certificates: [{{ cert: web.crt, key: web.key }}]{keys} }}");
        self.beside(Setup::of(&[behind]).listener(&tls)).start()
    }

    fn front(&self, of: &Tidegate, keys: &str) -> Tidegate {
        let setup = self.beside(Setup::without_file()).workers(1);
        let line = format!("- {{ address: \"{}\", id: a }}\n", of.address());
        setup.file().set(&[line]);
        setup.service(keys).start()
    }
}

#[test]
fn speaks_what_the_endpoint_chooses() {
    let (files, origin) = (Files::new(), Endpoint::start("a"));
    let endpoint = files.endpoint(&origin, "");
    for (protocol, spoken) in [("http1", "1.1"), ("h2", "2.0"), ("auto", "2.0")] {
        let tls = "tls: { server_name: web.test, ca: web.crt }";
        let front = files.front(&endpoint, &format!("protocol: {protocol}, {tls}"));
        for _ in 0..2 {
            assert_eq!(front.get("/").text(), "a", "{protocol}");
        }
        let body = "x".repeat(300_000);
        assert_eq!(front.connect().post("/large", &body).text(), "a");
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.body.len(), body.len());
        let via = format!("{spoken} tidegate");
        assert!(
            request.head.values("via").contains(&&*via),
            "{:?}",
            request.head
        );
        assert_eq!(request.head.field("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn sends_nothing_to_an_endpoint_that_cannot_prove_who_it_is() {
    let (files, origin) = (Files::new(), Endpoint::start("a"));
    let endpoint = files.endpoint(&origin, "");
    for keys in [
        "tls: { server_name: other.test, ca: web.crt }",
        "tls: { server_name: web.test, ca: own.crt }",
        "protocol: h2, tls: { server_name: web.test, ca: own.crt }",
    ] {
        let front = files.front(&endpoint, keys);
        assert_eq!(front.connect().post("/x", "once").status, 503, "{keys}");
        assert_eq!(front.logged("/x")["tries"][0]["reason"], "connect_failed");
        eventually("the log tells why", || {
            (front.tells("the endpoint's certificate is refused") == 1).then_some(())
        });
    }
    assert_eq!(origin.count(), 0);
    let front = files.front(&endpoint, "tls: { dangerously_unverified: true }");
    assert_eq!(front.get("/").text(), "a");
}

#[test]
fn tells_of_clear_text_where_tls_is_due() {
    // It speaks first, and in clear text.
    let (files, clear) = (Files::new(), StreamEndpoint::start("a"));
    let setup = files.beside(Setup::without_file());
    setup.file().set(&[clear.line("")]);
    let front = setup.service("tls: { ca: web.crt }").start();
    assert_eq!(front.get("/x").status, 503);
    eventually("the log tells", || {
        (front.tells("the endpoint does not speak TLS") > 0).then_some(())
    });
    assert_eq!(clear.count(), 0);
}

#[test]
fn shows_its_certificate_and_reads_it_again() {
    let (files, origin) = (Files::new(), Endpoint::start("a"));
    let endpoint = files.endpoint(&origin, ", client_certificates: { ca: own.crt }");
    let keys = "tls: { ca: web.crt, client_certificate: { cert: shown.crt, key: shown.key } }";
    let setup = files.beside(Setup::without_file());
    let line = format!("- {{ address: \"{}\", id: a }}\n", endpoint.address());
    setup.file().set(&[line]);
    let front = setup
        .with_file("shown.crt", &files.endpoint.0)
        .with_file("shown.key", &files.endpoint.1)
        .service(keys)
        .start();
    assert_ne!(
        front.get("/").status,
        200,
        "the endpoint asks for another one"
    );
    let unchanged = fs::read_to_string(front.config()).unwrap();
    assert_eq!(front.reload(&unchanged), "success");
    for (file, text) in [
        ("shown.key", &files.client.1),
        ("shown.crt", &files.client.0),
    ] {
        fs::write(front.dir().join(file), text).unwrap();
    }
    eventually("the new one is in force", || {
        (front.get("/").status == 200).then_some(())
    });
}

#[test]
fn a_file_that_is_no_certificate_is_told_with_its_service() {
    let (files, origin) = (Files::new(), Endpoint::start("a"));
    let endpoint = files.endpoint(&origin, "");
    let front = files.front(&endpoint, "tls: { ca: web.crt }");
    assert_eq!(front.get("/").text(), "a");
    let text = fs::read_to_string(front.config()).unwrap();
    assert_eq!(
        front.reload(&text.replace("ca: web.crt", "ca: web.key")),
        "error"
    );
    eventually("the log tells which", || {
        (front.tells("service web") == 1).then_some(())
    });
    assert_eq!(front.get("/").text(), "a");
}

#[test]
fn a_health_check_asks_by_the_same_tls() {
    let (files, origin) = (Files::new(), Endpoint::start("a"));
    let endpoint = files.endpoint(&origin, "");
    for (probe, protocol) in [
        ("http: /healthz", "http1"),
        ("http: /healthz", "auto"),
        ("tcp: true", "h2"),
    ] {
        let check = format!("health: {{ {probe}, interval: 20ms, timeout: 10s, unhealthy: 1 }}");
        let result = |tls: &str, result: &str| {
            let front = files.front(&endpoint, &format!("protocol: {protocol}, {tls}, {check}"));
            let series =
                format!("tidegate_health_checks_total{{result=\"{result}\",service=\"web\"}}");
            eventually("it has been asked", || front.metric(&series));
            front
        };
        result("tls: { server_name: web.test, ca: web.crt }", "success");
        let front = result("tls: { server_name: web.test, ca: own.crt }", "failure");
        eventually("it is told why", || {
            let told = front.told("the health check fails")?;
            let error = told["error"].as_str()?;
            error.contains("certificate is refused").then_some(())
        });
    }
    assert_eq!(origin.asked("/healthz"), origin.count());
    assert_ne!(origin.count(), 0);
}
