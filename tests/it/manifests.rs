//! The manifests of `config/kubernetes`: whether they parse, and fit each other and the config they carry.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate::config::Config;
use tidegate::discovery::{KubernetesService, Port};
use tidegate::document::{self, Node};
use tidegate::kubernetes::Publish;
use tidegate::{admin, discovery};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes")
}

/// Every YAML file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn json_of(node: &Node) -> Value {
    match &node.value {
        _ if node.is_null() => Value::Null,
        document::Value::Scalar { text, plain: true } => {
            serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
        }
        document::Value::Scalar { text, .. } => text.as_str().into(),
        document::Value::Sequence(items) => items.iter().map(json_of).collect(),
        document::Value::Mapping(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), json_of(node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let parsed = document::parse(&text);
    let nodes = parsed.unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    nodes.iter().map(json_of).collect()
}

/// The one object of a kind and name in a file.
fn object(file: &str, kind: &str, name: &str) -> Value {
    let documents = documents(&root().join(file)).into_iter();
    let mut found = documents.filter(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {kind} {name} in {file}"));
    assert!(found.next().is_none(), "several {kind} {name} in {file}");
    one
}

fn config(file: &str) -> Config {
    let path = root().join(file);
    let text = fs::read_to_string(&path).unwrap();
    Config::parse(&text, &path).unwrap_or_else(|faults| panic!("{file}: {faults:#?}"))
}

/// The container's port of a name.
fn port(workload: &Value, name: &str) -> u64 {
    let containers = workload["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    let mut ports = containers
        .iter()
        .filter_map(|one| one["ports"].as_array())
        .flatten();
    let port = ports.find(|port| port["name"] == name);
    port.unwrap_or_else(|| panic!("no port {name}"))["containerPort"]
        .as_u64()
        .unwrap()
}

fn verbs(role: &Value) -> Vec<(Value, Value, BTreeSet<String>)> {
    let rule = |rule: &Value| {
        let verbs = rule["verbs"].as_array().unwrap().iter();
        let verbs = verbs
            .map(|verb| verb.as_str().unwrap().to_owned())
            .collect();
        (rule["apiGroups"].clone(), rule["resources"].clone(), verbs)
    };
    role["rules"].as_array().unwrap().iter().map(rule).collect()
}

#[test]
fn every_file_parses_and_every_kustomization_names_files_that_are_there() {
    let files = files(&root());
    assert!(files.len() > 12, "{files:?}");
    for path in &files {
        let documents = documents(path);
        if path.file_name().unwrap() != "kustomization.yaml" {
            let is_config = ["tidegate.yaml", "webhook.yaml"]
                .map(Some)
                .contains(&path.file_name().unwrap().to_str());
            for one in documents.iter().filter(|_| !is_config) {
                assert!(
                    one["apiVersion"].is_string() && one["kind"].is_string(),
                    "{}",
                    path.display()
                );
            }
            continue;
        }
        let dir = path.parent().unwrap();
        let kustomization = &documents[0];
        let listed = |key: &str| kustomization[key].as_array().cloned().unwrap_or_default();
        let mut named = listed("resources");
        named.extend(listed("patches").iter().map(|patch| patch["path"].clone()));
        for map in listed("configMapGenerator") {
            named.extend(map["files"].as_array().unwrap().iter().cloned());
        }
        for name in &named {
            let name = name.as_str().unwrap();
            assert!(dir.join(name).exists(), "{}: {name}", path.display());
            // kustomize takes that for a circle: what adds to the folder above is a component.
            assert!(!name.starts_with(".."), "{}: {name}", path.display());
        }
        for entry in fs::read_dir(dir).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let is_named = named.iter().any(|name| *name == file);
            assert!(
                is_named || !file.ends_with(".yaml") || file == "kustomization.yaml",
                "{file} is in none"
            );
        }
    }
}

#[test]
fn opt_in_parts_are_components_that_the_kustomization_names() {
    let text = fs::read_to_string(root().join("kustomization.yaml")).unwrap();
    let line = text.lines().find(|line| line.starts_with("components:"));
    let line = line.unwrap();
    assert!(line.starts_with("components: []"), "none by itself");
    for part in ["ingress", "gateway", "webhook"] {
        assert!(line.contains(&format!("[{part}]")), "{line}");
        let kustomization = &documents(&root().join(part).join("kustomization.yaml"))[0];
        assert_eq!(kustomization["kind"], "Component", "{part}");
    }
}

#[test]
fn the_grace_periods_fit_the_budgets() {
    let pod = &object("deployment.yaml", "Deployment", "tidegate")["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    for file in [
        "tidegate.yaml",
        "webhook/webhook.yaml",
        "ingress/tidegate.yaml",
        "gateway/tidegate.yaml",
    ] {
        let budget = config(file).shutdown.grace_period.as_secs();
        assert!(
            grace >= budget + 15,
            "{grace} s for a budget of {budget} s in {file}"
        );
    }
    assert!(
        pod["containers"][0]["lifecycle"].is_null(),
        "no preStop of its own"
    );
    let shop = object("example/shop.yaml", "Deployment", "shop");
    let pod = &shop["spec"]["template"]["spec"];
    let command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"].clone();
    assert_eq!(
        command,
        json!(["/tools/tidegate", "wait", "--limit", "25s"])
    );
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 25 + 5);
}

#[test]
fn ports_and_names_are_the_same_everywhere() {
    let deployment = object("deployment.yaml", "Deployment", "tidegate");
    let config = config("tidegate.yaml");
    let (http, probes) = (port(&deployment, "http"), port(&deployment, "probes"));
    assert_eq!(u64::from(config.listeners[0].address.port()), http);
    assert_eq!(
        config.admin.probes_address.map(|it| u64::from(it.port())),
        Some(probes)
    );
    assert!(
        config.admin.address.tcp().unwrap().ip().is_loopback(),
        "who reaches the admin side can drain"
    );
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for (name, key) in [
        ("tidegate", "http"),
        ("tidegate-peers", "probes"),
        ("tidegate-wait", "probes"),
    ] {
        let service = object("services.yaml", "Service", name);
        assert_eq!(&service["spec"]["selector"], labels, "{name}");
        assert_eq!(service["spec"]["ports"][0]["targetPort"], key, "{name}");
    }
    let peers = object("services.yaml", "Service", "tidegate-peers");
    assert_eq!(peers["spec"]["clusterIP"], "None");
    let expected = KubernetesService {
        namespace: "tidegate".into(),
        service: "tidegate-peers".into(),
        port: Some(Port::Name("probes".into())),
        pods: false,
    };
    assert_eq!(config.admin.peers, admin::Peers::Kubernetes(expected));
    let policy = object("network.yaml", "NetworkPolicy", "tidegate");
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    let opened: Vec<_> = policy["spec"]["ingress"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            (
                rule["ports"][0]["port"].as_u64().unwrap(),
                rule["from"].is_null(),
            )
        })
        .collect();
    assert_eq!(
        opened,
        [(http, true), (probes, false)],
        "the hook is for the cluster only"
    );
    let budget = object("disruption.yaml", "PodDisruptionBudget", "tidegate");
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    for probe in ["readinessProbe", "livenessProbe"] {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container[probe]["httpGet"]["port"], "probes");
    }
    // The example's endpoints are the ones that the config routes to.
    let shop = object("example/shop.yaml", "Service", "shop");
    let discovery::Settings::Kubernetes(source) = &config.services[0].source else {
        panic!("no Kubernetes source");
    };
    assert_eq!(
        (&*source.service, &source.port),
        ("shop", &Some(Port::Name("http".into())))
    );
    assert_eq!(shop["spec"]["ports"][0]["name"], "http");
}

/// The containers of a workload.
fn containers(workload: &Value) -> &[Value] {
    workload["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
}

/// The file of a container's config, below the volume that has it.
fn config_of(container: &Value) -> String {
    let command: Vec<_> = container["command"].as_array().unwrap().iter().collect();
    assert_eq!(command[..3], ["/tidegate", "run", "-c"]);
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["readOnly"], true);
    let place = format!("{}/", mount["mountPath"].as_str().unwrap());
    let file = command[3].as_str().unwrap().strip_prefix(&place);
    file.expect("it is where the volume is").to_owned()
}

/// The name and the one file of a kustomization's config map.
fn config_map(kustomization: &str) -> (Value, Value) {
    let kustomization = &documents(&root().join(kustomization))[0];
    let map = &kustomization["configMapGenerator"][0];
    assert_eq!(map["files"].as_array().unwrap().len(), 1);
    (map["name"].clone(), map["files"][0].clone())
}

#[test]
fn a_replica_reads_its_config_is_probed_where_it_says_and_may_nothing() {
    let deployment = object("deployment.yaml", "Deployment", "tidegate");
    let pod = &deployment["spec"]["template"];
    let container = &containers(&deployment)[0];
    let (map, file) = config_map("kustomization.yaml");
    assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], map);
    assert_eq!(config_of(container), file);
    // One that leaves still serves: `/lbz` would take it out at once.
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    let scraped = &pod["metadata"]["annotations"]["prometheus.io/port"];
    let probes = port(&deployment, "probes");
    assert_eq!(*scraped, probes.to_string());
    for name in ["tidegate-peers", "tidegate-wait"] {
        let service = object("services.yaml", "Service", name);
        assert_eq!(service["spec"]["ports"][0]["port"], probes, "{name}");
    }
    assert_eq!(pod["spec"]["serviceAccountName"], "tidegate");
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    let webhook = object("webhook/container.yaml", "Deployment", "tidegate");
    for container in [container, &containers(&webhook)[0]] {
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        assert_eq!(container["securityContext"], expected);
    }
    for (file, name) in [
        ("deployment.yaml", "tidegate"),
        ("example/shop.yaml", "shop"),
    ] {
        let workload = object(file, "Deployment", name);
        let rollout = &workload["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(rollout["maxUnavailable"], 0, "{file}: new before old");
    }
}

#[test]
fn the_example_waits_for_itself_at_any_replica() {
    let shop = object("example/shop.yaml", "Deployment", "shop");
    let env = containers(&shop)[0]["env"].as_array().unwrap();
    let variable = |name: &str| env.iter().find(|one| one["name"] == name).unwrap();
    let wait = object("services.yaml", "Service", "tidegate-wait");
    let port = &wait["spec"]["ports"][0]["port"];
    let admin = format!("http://tidegate-wait.tidegate.svc:{port}");
    assert_eq!(variable("TIDEGATE_ADMIN")["value"], admin);
    let pod = &variable("TIDEGATE_POD")["value"];
    assert_eq!(*pod, "$(POD_NAMESPACE)/$(POD_NAME)");
    for (name, field) in [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
    ] {
        let from = &variable(name)["valueFrom"]["fieldRef"]["fieldPath"];
        assert_eq!(*from, field);
    }
}

#[test]
fn the_rights_are_exactly_those_that_are_used() {
    let used: BTreeSet<String> = ["list", "watch"].map(str::to_owned).into();
    let slices = (
        json!(["discovery.k8s.io"]),
        json!(["endpointslices"]),
        used.clone(),
    );
    assert_eq!(
        verbs(&object("rbac.yaml", "Role", "tidegate-peers"))[..],
        *std::slice::from_ref(&slices)
    );
    assert_eq!(
        verbs(&object("rbac.yaml", "ClusterRole", "tidegate-services")),
        [slices]
    );
    let pods = (json!([""]), json!(["pods"]), used);
    assert_eq!(
        verbs(&object("pods/rbac.yaml", "Role", "tidegate-pods")),
        [pods]
    );
    for (file, name) in [
        ("rbac.yaml", "tidegate-peers"),
        ("pods/rbac.yaml", "tidegate-pods"),
        ("example/rbac.yaml", "tidegate-services"),
    ] {
        let binding = object(file, "RoleBinding", name);
        assert_eq!(binding["roleRef"]["name"], name);
        assert_eq!(binding["subjects"][0]["name"], "tidegate");
        assert_eq!(binding["subjects"][0]["namespace"], "tidegate");
    }
}

#[test]
fn the_webhook_fails_open_and_reaches_the_hook() {
    let configuration = object(
        "webhook/configuration.yaml",
        "ValidatingWebhookConfiguration",
        "tidegate",
    );
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert!(
        webhook["namespaceSelector"]["matchLabels"].is_object(),
        "opt-in"
    );
    assert_eq!(webhook["clientConfig"]["service"]["path"], "/admission");
    let asked: Vec<_> = webhook["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (rule["resources"][0].clone(), rule["operations"][0].clone()))
        .collect();
    assert_eq!(
        asked,
        [
            (json!("pods"), json!("DELETE")),
            (json!("pods/eviction"), json!("CREATE"))
        ]
    );
    let front = config("webhook/webhook.yaml");
    let probes = config("tidegate.yaml").admin.probes_address.unwrap().port();
    let discovery::Settings::List(to) = &front.services[0].source else {
        panic!("no list");
    };
    assert_eq!(to[0].port(), probes);
    let container = object("webhook/container.yaml", "Deployment", "tidegate");
    assert_eq!(
        u64::from(front.listeners[0].address.port()),
        port(&container, "webhook")
    );
    assert_eq!(webhook["sideEffects"], "NoneOnDryRun");
    // Its answer may take a second.
    assert!(webhook["timeoutSeconds"].as_u64().unwrap() >= 3);
    let service = object("webhook/service.yaml", "Service", "tidegate-webhook");
    let called = &webhook["clientConfig"]["service"];
    assert_eq!(called["name"], service["metadata"]["name"]);
    assert_eq!(called["namespace"], "tidegate");
    assert_eq!(called["port"], service["spec"]["ports"][0]["port"]);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "webhook");
    let policy = object("webhook/service.yaml", "NetworkPolicy", "tidegate-webhook");
    let opened = &policy["spec"]["ingress"][0]["ports"][0]["port"];
    assert_eq!(*opened, port(&container, "webhook"));
    let sources = &container["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"];
    let (map, file) = config_map("webhook/kustomization.yaml");
    assert_eq!(sources[0]["configMap"]["name"], map);
    assert_eq!(config_of(&containers(&container)[0]), file);
    let items = sources[1]["secret"]["items"].as_array().unwrap();
    let mounted: Vec<_> = items
        .iter()
        .map(|item| Path::new("/etc/webhook").join(item["path"].as_str().unwrap()))
        .collect();
    let pair = &front.listeners[0].tls.as_ref().unwrap().certificates[0];
    assert_eq!(mounted, [pair.cert.clone(), pair.key.clone()]);
    let own = config("tidegate.yaml").admin.address.tcp().unwrap().port();
    assert_ne!(
        front.admin.address.tcp().unwrap().port(),
        own,
        "both are in one pod"
    );
}

#[test]
fn the_ingress_part_fits_its_config_and_asks_for_no_more_than_it_uses() {
    let config = config("ingress/tidegate.yaml");
    let section = config.kubernetes.as_ref().unwrap();
    let ingress = section.ingress.as_ref().unwrap();
    let class = object("ingress/class.yaml", "IngressClass", &ingress.class);
    assert_eq!(class["spec"]["controller"], *ingress.controller);
    assert_eq!(
        ingress.publish,
        Publish::Service {
            namespace: "tidegate".into(),
            name: "tidegate".into()
        }
    );
    object("services.yaml", "Service", "tidegate");
    let container = object("ingress/container.yaml", "Deployment", "tidegate");
    let listener = config.listeners.iter().find(|one| *one.name == *"https");
    let https = u64::from(listener.unwrap().address.port());
    assert_eq!(https, port(&container, "https"));
    let service = object("ingress/service.yaml", "Service", "tidegate");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "https");
    let base = object("network.yaml", "NetworkPolicy", "tidegate");
    let policy = object("ingress/network.yaml", "NetworkPolicy", "tidegate");
    assert_eq!(policy["spec"]["ingress"][1], base["spec"]["ingress"][1]);
    let opened = &policy["spec"]["ingress"][0]["ports"];
    assert_eq!(opened[0], base["spec"]["ingress"][0]["ports"][0]);
    assert_eq!(opened[1]["port"].as_u64(), Some(https));
    let set = |verbs: &[&str]| verbs.iter().map(|verb| (*verb).to_owned()).collect();
    let watched = set(&["list", "watch"]);
    let role = object("ingress/rbac.yaml", "ClusterRole", "tidegate-ingress");
    assert_eq!(
        verbs(&role),
        [
            (
                json!(["networking.k8s.io"]),
                json!(["ingresses", "ingressclasses"]),
                watched
            ),
            (
                json!([""]),
                json!(["services", "secrets"]),
                set(&["list", "watch"])
            ),
            (
                json!(["discovery.k8s.io"]),
                json!(["endpointslices"]),
                set(&["list", "watch"])
            ),
            (
                json!(["networking.k8s.io"]),
                json!(["ingresses/status"]),
                set(&["patch"])
            ),
            (
                json!(["events.k8s.io"]),
                json!(["events"]),
                set(&["create"])
            ),
        ]
    );
    let role = object("ingress/rbac.yaml", "Role", "tidegate-lease");
    let group = json!(["coordination.k8s.io"]);
    assert_eq!(
        verbs(&role),
        [
            (group.clone(), json!(["leases"]), set(&["get", "update"])),
            (group, json!(["leases"]), set(&["create"])),
        ]
    );
    assert_eq!(
        role["rules"][0]["resourceNames"],
        json!([section.lease.name])
    );
    for (kind, name) in [
        ("ClusterRoleBinding", "tidegate-ingress"),
        ("RoleBinding", "tidegate-lease"),
    ] {
        let binding = object("ingress/rbac.yaml", kind, name);
        assert_eq!(binding["roleRef"]["name"], name);
        assert_eq!(binding["subjects"][0]["name"], "tidegate");
    }
}

#[test]
fn the_gateway_part_fits_its_config_and_asks_for_no_more_than_it_uses() {
    let config = config("gateway/tidegate.yaml");
    let section = config.kubernetes.as_ref().unwrap();
    let gateway = section.gateway.as_ref().unwrap();
    let class = object("gateway/class.yaml", "GatewayClass", "tidegate");
    assert_eq!(class["spec"]["controllerName"], *gateway.controller);
    let served: Vec<_> = gateway
        .ports
        .iter()
        .map(|port| (port.number, port.tls))
        .collect();
    assert_eq!(
        served,
        [(80, false), (443, true), (8080, false), (8443, true)]
    );
    for file in ["container.yaml", "network.yaml", "service.yaml"] {
        let [ours, ingress] =
            ["gateway", "ingress"].map(|part| documents(&root().join(part).join(file)));
        assert_eq!(ours, ingress, "{file}: the listeners are the same");
    }
    let set = |verbs: &[&str]| verbs.iter().map(|verb| (*verb).to_owned()).collect();
    let group = json!(["gateway.networking.k8s.io"]);
    let kinds = ["gatewayclasses", "gateways", "httproutes", "grpcroutes"];
    let statuses = kinds.map(|kind| format!("{kind}/status"));
    let role = object("gateway/rbac.yaml", "ClusterRole", "tidegate-gateway");
    assert_eq!(
        verbs(&role),
        [
            (
                group.clone(),
                json!([kinds[0], kinds[1], kinds[2], kinds[3], "referencegrants"]),
                set(&["list", "watch"])
            ),
            (
                json!([""]),
                json!(["services", "secrets", "namespaces"]),
                set(&["list", "watch"])
            ),
            (
                json!(["discovery.k8s.io"]),
                json!(["endpointslices"]),
                set(&["list", "watch"])
            ),
            (group, json!(statuses), set(&["patch"])),
            (
                json!(["events.k8s.io"]),
                json!(["events"]),
                set(&["create"])
            ),
        ]
    );
    let ingress = object("ingress/rbac.yaml", "Role", "tidegate-lease");
    assert_eq!(
        object("gateway/rbac.yaml", "Role", "tidegate-lease"),
        ingress
    );
    for (kind, name) in [
        ("ClusterRoleBinding", "tidegate-gateway"),
        ("RoleBinding", "tidegate-lease"),
    ] {
        let binding = object("gateway/rbac.yaml", kind, name);
        assert_eq!(binding["roleRef"]["name"], name);
        assert_eq!(binding["subjects"][0]["name"], "tidegate");
    }
}
