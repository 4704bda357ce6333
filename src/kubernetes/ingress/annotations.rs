//! Every annotation of ingress-nginx, and our answer to it.
//!
//! Dialects of others are not spoken here: what an annotation would change is written in tidegate's config, or is not
//! there. Each has one of three answers, so that whoever migrates knows before the first request.

use std::collections::BTreeMap;

/// What all of them begin with.
pub(in crate::kubernetes) const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What becomes of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kubernetes) enum Answer {
    /// It is as the annotation asks, without it.
    Works,
    /// It has no meaning here, and nobody will miss it.
    Harmless,
    /// Requests are served otherwise than the annotation asks.
    Changes,
    /// It keeps somebody out, which is not done here: its Ingress is not served, rather than opened to everybody.
    Guards,
}

/// What becomes of an annotation, and what to do.
#[derive(Debug, Clone, Copy)]
pub(in crate::kubernetes) struct Known {
    /// Behind the prefix.
    pub(in crate::kubernetes) name: &'static str,
    pub(in crate::kubernetes) answer: Answer,
    pub(in crate::kubernetes) text: &'static str,
    /// With these values it works all the same.
    works_with: &'static [&'static str],
}

/// What is known of an annotation with a value; nothing for one of somebody else.
pub(in crate::kubernetes) fn answer(key: &str, value: &str) -> Option<(Answer, &'static str)> {
    let name = key.strip_prefix(PREFIX)?;
    let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
        return Some((Answer::Changes, UNKNOWN));
    };
    match (name, value) {
        ("ssl-redirect", "true") => return Some((Answer::Works, REDIRECTED)),
        ("force-ssl-redirect", "true") => return Some((Answer::Works, ALL_REDIRECTED)),
        _ => {}
    }
    if known.works_with.contains(&value) {
        return Some((Answer::Works, "as it is here anyway"));
    }
    Some((known.answer, known.text))
}

/// Whether an Ingress only takes a share of another one's requests.
pub(super) fn is_canary(annotations: &BTreeMap<String, String>) -> bool {
    is_true(annotations, "canary")
}

/// Whether an annotation of ingress-nginx says `true`.
pub(super) fn is_true(annotations: &BTreeMap<String, String>, name: &str) -> bool {
    let mut all = annotations.iter();
    all.any(|(key, value)| key.strip_prefix(PREFIX) == Some(name) && value == "true")
}

const UNKNOWN: &str = "it is not among those that tidegate knows of";

const fn works(name: &'static str, text: &'static str) -> Known {
    known(name, Answer::Works, text, &[])
}

const fn harmless(name: &'static str, text: &'static str) -> Known {
    known(name, Answer::Harmless, text, &[])
}

const fn changes(name: &'static str, text: &'static str) -> Known {
    known(name, Answer::Changes, text, &[])
}

const fn guards(name: &'static str, text: &'static str) -> Known {
    known(name, Answer::Guards, text, &[])
}

/// One that asks, with these values, for what is so anyway.
const fn unless(
    name: &'static str,
    works_with: &'static [&'static str],
    text: &'static str,
) -> Known {
    known(name, Answer::Changes, text, works_with)
}

const fn known(
    name: &'static str,
    answer: Answer,
    text: &'static str,
    works_with: &'static [&'static str],
) -> Known {
    Known {
        name,
        answer,
        text,
        works_with,
    }
}

const AFFINITY: &str =
    "for a session's place declare the service in the config: affinity: { cookie: NAME }";
const AUTH: &str = "tidegate asks nobody who they are: put a proxy that does in front of the application, or keep it private";
const CANARY: &str =
    "an Ingress has no shares here: a canary is left out, and the main Ingress has all requests";
const CORS: &str = "no headers are added: the application answers for its own CORS";
const NGINX_TEXT: &str =
    "it is nginx's own language: find what it does, and do that in the application";
const LIMIT: &str = "requests are not limited by rate; limits.connections_per_client of a listener bounds connections";
const LISTENER_TLS: &str =
    "client certificates are asked for by a listener: tls.client_certificates in the config";
const BUFFERS: &str = "bodies stream through, and buffers have their own bounds";
const UPSTREAM_TLS: &str =
    "for TLS to the pods declare the service in the config, with tls: { server_name, ca }";
const TIMEOUT: &str = "for another time limit than the default declare the service in the config";
const REDIRECT: &str =
    "an Ingress redirects nobody here: let the application, or a route of the config, do it";
const TRACING: &str = "spans are not exported";
const FIREWALL: &str =
    "there is no firewall for applications here: put one in front, or do without";
const HTTPS: &str =
    "http and https serve the same: say \"true\" to have clients of http sent to https";
const REDIRECTED: &str = "clients of http are sent to https by 308, on the hosts under spec.tls";
const ALL_REDIRECTED: &str = "clients of http are sent to https by 308, on all hosts; \
    a balancer in front that speaks https for tidegate has to be among the listener's trusted_proxies";
const SOURCES: &str =
    "addresses of clients are not looked at: use a NetworkPolicy, or the load balancer in front";
const COOKIE: &str = "tidegate's cookie for affinity is a session cookie with Path=/ and HttpOnly";

/// All of them, by name.
pub(in crate::kubernetes) const KNOWN: &[Known] = &[
    unless("affinity", &[], AFFINITY),
    harmless(
        "affinity-canary-behavior",
        "it means something only with canary, which is ignored",
    ),
    harmless(
        "affinity-mode",
        "tidegate moves a session only when its endpoint leaves",
    ),
    guards("allowlist-source-range", SOURCES),
    changes("app-root", REDIRECT),
    changes("auth-always-set-cookie", AUTH),
    changes("auth-cache-duration", AUTH),
    changes("auth-cache-key", AUTH),
    changes("auth-keepalive", AUTH),
    changes("auth-keepalive-requests", AUTH),
    changes("auth-keepalive-share-vars", AUTH),
    changes("auth-keepalive-timeout", AUTH),
    changes("auth-method", AUTH),
    changes("auth-proxy-set-headers", AUTH),
    changes("auth-realm", AUTH),
    changes("auth-request-redirect", AUTH),
    changes("auth-response-headers", AUTH),
    guards("auth-secret", AUTH),
    changes("auth-secret-type", AUTH),
    changes("auth-signin", AUTH),
    changes("auth-signin-redirect-param", AUTH),
    changes("auth-snippet", AUTH),
    changes("auth-tls-error-page", LISTENER_TLS),
    changes("auth-tls-match-cn", LISTENER_TLS),
    unless(
        "auth-tls-pass-certificate-to-upstream",
        &["false"],
        "the client's certificate is not passed on",
    ),
    guards("auth-tls-secret", LISTENER_TLS),
    unless("auth-tls-verify-client", &["off"], LISTENER_TLS),
    changes("auth-tls-verify-depth", LISTENER_TLS),
    guards("auth-type", AUTH),
    guards("auth-url", AUTH),
    unless(
        "backend-protocol",
        &["HTTP", "AUTO_HTTP"],
        "for gRPC set appProtocol: kubernetes.io/h2c on the Service's port; for TLS to the pods declare the service in the config, with tls",
    ),
    unless("canary", &["false"], CANARY),
    changes("canary-by-cookie", CANARY),
    changes("canary-by-header", CANARY),
    changes("canary-by-header-pattern", CANARY),
    changes("canary-by-header-value", CANARY),
    changes("canary-weight", CANARY),
    changes("canary-weight-total", CANARY),
    harmless("client-body-buffer-size", BUFFERS),
    changes("configuration-snippet", NGINX_TEXT),
    harmless(
        "connection-proxy-header",
        "connections to pods are kept open, and closed when the pod drains",
    ),
    changes("cors-allow-credentials", CORS),
    changes("cors-allow-headers", CORS),
    changes("cors-allow-methods", CORS),
    changes("cors-allow-origin", CORS),
    changes("cors-expose-headers", CORS),
    changes("cors-max-age", CORS),
    changes(
        "custom-headers",
        "no headers are added: let the application do it",
    ),
    changes(
        "custom-http-errors",
        "answers of the application are passed on as they are",
    ),
    changes(
        "default-backend",
        "a service without endpoints answers 503; spec.defaultBackend is for what no path takes",
    ),
    guards("denylist-source-range", SOURCES),
    harmless(
        "enable-access-log",
        "every request is logged; access_log.sample in the config thins successes out",
    ),
    unless("enable-cors", &["false"], CORS),
    unless("enable-global-auth", &["false"], AUTH),
    harmless("enable-influxdb", "metrics are Prometheus' at /metrics"),
    unless("enable-modsecurity", &["false"], FIREWALL),
    harmless("enable-opentelemetry", TRACING),
    harmless("enable-opentracing", TRACING),
    unless("enable-owasp-core-rules", &["false"], FIREWALL),
    harmless("enable-rewrite-log", "there are no rewrites to log"),
    unless("force-ssl-redirect", &["false"], HTTPS),
    unless("from-to-www-redirect", &["false"], REDIRECT),
    changes("global-rate-limit", LIMIT),
    changes("global-rate-limit-ignored-cidrs", LIMIT),
    changes("global-rate-limit-key", LIMIT),
    changes("global-rate-limit-window", LIMIT),
    harmless("http2-push-preload", "browsers take no pushes any more"),
    harmless("influxdb-host", "metrics are Prometheus' at /metrics"),
    harmless(
        "influxdb-measurement",
        "metrics are Prometheus' at /metrics",
    ),
    harmless("influxdb-port", "metrics are Prometheus' at /metrics"),
    harmless(
        "influxdb-server-name",
        "metrics are Prometheus' at /metrics",
    ),
    changes("limit-allowlist", LIMIT),
    changes("limit-burst-multiplier", LIMIT),
    changes("limit-connections", LIMIT),
    changes("limit-rate", LIMIT),
    changes("limit-rate-after", LIMIT),
    changes("limit-rpm", LIMIT),
    changes("limit-rps", LIMIT),
    changes("limit-whitelist", LIMIT),
    known(
        "load-balance",
        Answer::Harmless,
        "the endpoint with the fewest requests of two drawn ones is taken, which is better than turns",
        &["least_request"],
    ),
    changes("mirror-host", "requests are not mirrored"),
    changes("mirror-request-body", "requests are not mirrored"),
    changes("mirror-target", "requests are not mirrored"),
    changes("modsecurity-snippet", FIREWALL),
    changes("modsecurity-transaction-id", FIREWALL),
    harmless("opentelemetry-operation-name", TRACING),
    harmless("opentelemetry-trust-incoming-span", TRACING),
    harmless("opentracing-trust-incoming-span", TRACING),
    changes("permanent-redirect", REDIRECT),
    changes("permanent-redirect-code", REDIRECT),
    works(
        "preserve-trailing-slash",
        "nobody is redirected for a slash",
    ),
    changes(
        "proxy-body-size",
        "there is no bound; for one declare the service in the config, with limits.request_body",
    ),
    harmless("proxy-buffer-size", BUFFERS),
    unless(
        "proxy-buffering",
        &["off"],
        "bodies stream through at the client's speed and are not kept for slow clients",
    ),
    harmless("proxy-buffers-number", BUFFERS),
    harmless("proxy-busy-buffers-size", BUFFERS),
    changes("proxy-connect-timeout", TIMEOUT),
    changes(
        "proxy-cookie-domain",
        "cookies of the application are passed on as they are",
    ),
    changes(
        "proxy-cookie-path",
        "cookies of the application are passed on as they are",
    ),
    unless(
        "proxy-http-version",
        &["1.1"],
        "pods are spoken to by HTTP/1.1, or HTTP/2 when the Service's appProtocol says so",
    ),
    harmless("proxy-max-temp-file-size", BUFFERS),
    harmless(
        "proxy-next-upstream",
        "what is safe to send again is sent again, once, and nothing else",
    ),
    harmless(
        "proxy-next-upstream-timeout",
        "what is safe to send again is sent again, once, and nothing else",
    ),
    harmless(
        "proxy-next-upstream-tries",
        "what is safe to send again is sent again, once, and nothing else",
    ),
    changes("proxy-read-timeout", TIMEOUT),
    unless(
        "proxy-redirect-from",
        &["off"],
        "redirects of the application are passed on as they are",
    ),
    changes(
        "proxy-redirect-to",
        "redirects of the application are passed on as they are",
    ),
    unless(
        "proxy-request-buffering",
        &["off"],
        "uploads stream through: the pod sees them as they come",
    ),
    changes("proxy-send-timeout", TIMEOUT),
    changes("proxy-ssl-ciphers", UPSTREAM_TLS),
    changes("proxy-ssl-name", UPSTREAM_TLS),
    changes("proxy-ssl-protocols", UPSTREAM_TLS),
    changes("proxy-ssl-secret", UPSTREAM_TLS),
    changes("proxy-ssl-server-name", UPSTREAM_TLS),
    changes("proxy-ssl-verify", UPSTREAM_TLS),
    changes("proxy-ssl-verify-depth", UPSTREAM_TLS),
    harmless("relative-redirects", "tidegate itself redirects nobody"),
    changes(
        "rewrite-target",
        "paths reach the application as the client sent them: let it serve below the prefix",
    ),
    changes("satisfy", AUTH),
    changes(
        "server-alias",
        "write the other hosts as rules of their own",
    ),
    changes("server-snippet", NGINX_TEXT),
    unless(
        "service-upstream",
        &["false"],
        "pods are reached directly, never by the Service's address: only so can one drain",
    ),
    changes("session-cookie-change-on-failure", COOKIE),
    changes("session-cookie-conditional-samesite-none", COOKIE),
    changes("session-cookie-domain", COOKIE),
    changes("session-cookie-expires", COOKIE),
    changes("session-cookie-max-age", COOKIE),
    changes("session-cookie-name", AFFINITY),
    changes("session-cookie-path", COOKIE),
    changes("session-cookie-samesite", COOKIE),
    changes("session-cookie-secure", COOKIE),
    harmless("ssl-ciphers", "there are only good ciphers to choose from"),
    unless(
        "ssl-passthrough",
        &["false"],
        "TLS ends at tidegate: name a Secret under spec.tls",
    ),
    harmless(
        "ssl-prefer-server-ciphers",
        "there are only good ciphers to choose from",
    ),
    unless("ssl-redirect", &["false"], HTTPS),
    changes("stream-snippet", NGINX_TEXT),
    changes("temporal-redirect", REDIRECT),
    changes("temporal-redirect-code", REDIRECT),
    changes(
        "upstream-hash-by",
        "for places by hash declare the service in the config: balance: hash, with hash_on",
    ),
    changes(
        "upstream-hash-by-subset",
        "for places by hash declare the service in the config: balance: hash, with hash_on",
    ),
    changes(
        "upstream-hash-by-subset-size",
        "for places by hash declare the service in the config: balance: hash, with hash_on",
    ),
    changes(
        "upstream-vhost",
        "Host reaches the application as the client sent it",
    ),
    unless(
        "use-regex",
        &["false"],
        "paths are no regular expressions here: write the prefixes they stand for",
    ),
    guards("whitelist-source-range", SOURCES),
    changes(
        "x-forwarded-prefix",
        "no such header is added: paths reach the application as the client sent them",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_what_to_do() {
        let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        assert!(KNOWN.iter().all(|known| known.text.len() > 15));
    }

    #[test]
    fn what_asks_for_what_is_so_anyway_changes_nothing() {
        let said = |name: &str, value: &str| {
            answer(&format!("{PREFIX}{name}"), value).map(|(answer, _)| answer)
        };
        assert_eq!(said("ssl-redirect", "false"), Some(Answer::Works));
        assert_eq!(said("ssl-redirect", "true"), Some(Answer::Works));
        assert_eq!(said("force-ssl-redirect", "true"), Some(Answer::Works));
        assert_eq!(said("ssl-redirect", "yes"), Some(Answer::Changes));
        assert_eq!(said("backend-protocol", "HTTP"), Some(Answer::Works));
        assert_eq!(said("proxy-buffer-size", "8k"), Some(Answer::Harmless));
        assert_eq!(said("auth-url", "https://auth"), Some(Answer::Guards));
        assert_eq!(said("new-in-2027", ""), Some(Answer::Changes));
        assert_eq!(answer("example.com/rewrite-target", "/"), None);
    }
}
