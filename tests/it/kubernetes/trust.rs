//! TLS with the API server: whom tidegate trusts, and who it says it is.

use std::fs;

use serde_json::json;

use super::api::{Api, Authority, Front};
use super::{READY, setup};
use crate::support::{Endpoint, Setup, Tidegate, eventually};

fn with(api: &Api, kubeconfig: &str) -> Setup {
    setup(api).with_file("kubeconfig", kubeconfig)
}

/// It says this, and names the server.
fn tells(tidegate: &Tidegate, front: &Front, what: &str) {
    let server = format!("https://{}", front.address);
    eventually(&format!("it tells: {what}"), || {
        (tidegate.tells(what) > 0 && tidegate.tells(&server) > 0).then_some(())
    });
    let answer = tidegate.admin("GET", "/readyz");
    assert_eq!(answer.status, 503);
}

#[test]
fn a_server_that_the_kubeconfigs_authority_certifies_is_asked() {
    let (api, authority, a) = (Api::start(), Authority::new(), Endpoint::start("a"));
    api.set(&a, READY);
    let front = api.front(&authority, None);
    let kubeconfig = front.kubeconfig(&authority, &json!({}));
    let tidegate = with(&api, &kubeconfig).start();
    assert_eq!(tidegate.get("/").text(), "a");
    let b = Endpoint::start("b");
    api.set(&b, READY);
    tidegate.is("b", "ready");
}

#[test]
fn a_server_of_another_authority_is_told_nothing_until_it_is_trusted() {
    let (api, authority, a) = (Api::start(), Authority::new(), Endpoint::start("a"));
    api.set(&a, READY);
    api.wants_token("secret");
    let user = json!({ "token": "secret" });
    let front = api.front(&authority, None);
    let wrong = front.kubeconfig(&Authority::new(), &user);
    let tidegate = with(&api, &wrong).start_unready();
    tells(&tidegate, &front, "the API server is not trusted");
    assert!(tidegate.tells("certificate-authority-data") > 0);
    assert_eq!(api.asked("stream") + api.asked("list"), 0);
    // It goes on trying, with what the kubeconfig says by then.
    let right = front.kubeconfig(&authority, &user);
    fs::write(tidegate.dir().join("kubeconfig"), right).unwrap();
    tidegate.ready();
    assert_eq!(tidegate.get("/").text(), "a");
}

#[test]
fn shows_its_token_and_says_so_when_it_is_unknown() {
    let (api, authority, a) = (Api::start(), Authority::new(), Endpoint::start("a"));
    api.set(&a, READY);
    api.wants_token("secret");
    let front = api.front(&authority, None);
    let wrong = front.kubeconfig(&authority, &json!({ "token": "other" }));
    let tidegate = with(&api, &wrong).start_unready();
    eventually("it tells", || {
        (tidegate.tells("does not know who asks: 401") > 0).then_some(())
    });
    assert_eq!(tidegate.admin("GET", "/readyz").status, 503);
    assert_eq!(tidegate.tells("other"), 0, "a token is told to nobody");
    let right = front.kubeconfig(&authority, &json!({ "token": "secret" }));
    fs::write(tidegate.dir().join("kubeconfig"), right).unwrap();
    tidegate.ready();
    assert_eq!(tidegate.get("/").text(), "a");
}

#[test]
fn shows_its_client_certificate_and_says_so_when_it_is_unknown() {
    let (api, authority, a) = (Api::start(), Authority::new(), Endpoint::start("a"));
    api.set(&a, READY);
    let front = api.front(&authority, Some(&authority));
    let stranger = Authority::new().certifies("tidegate").user();
    let tidegate = with(&api, &front.kubeconfig(&authority, &stranger)).start_unready();
    tells(&tidegate, &front, "does not know who asks");
    let known = authority.certifies("tidegate").user();
    let right = front.kubeconfig(&authority, &known);
    fs::write(tidegate.dir().join("kubeconfig"), right).unwrap();
    tidegate.ready();
    assert_eq!(tidegate.get("/").text(), "a");
}
