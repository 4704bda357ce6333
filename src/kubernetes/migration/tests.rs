use super::*;

const SHOP: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: main
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/proxy-body-size: 8m
    nginx.ingress.kubernetes.io/proxy-buffer-size: "8k"
    nginx.ingress.kubernetes.io/ssl-redirect: "false"
spec:
  ingressClassName: nginx
  tls: [{ hosts: [shop.test], secretName: shop-tls }]
  rules:
    - host: shop.test
      http:
        paths:
          - { path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }
---
# only a comment
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: ConfigMap
    metadata: { name: x }
  - apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: { name: admin, annotations: { nginx.ingress.kubernetes.io/auth-type: basic } }
    spec:
      ingressClassName: tidegate
      defaultBackend: { service: { name: web, port: { name: http } } }
"#;

fn judged(text: &str) -> Vec<Judgement> {
    let mut manifests = Manifests::default();
    manifests.add("a.yaml", text).unwrap();
    manifests.judge()
}

fn line<'j>(judgement: &'j Judgement, word: &str) -> Vec<&'j str> {
    let lines = judgement.lines.iter();
    lines
        .filter(|(known, _)| *known == word)
        .map(|(_, text)| &**text)
        .collect()
}

#[test]
fn says_of_each_ingress_what_it_would_come_to() {
    let all = judged(SHOP);
    let [main, admin] = &*all else {
        panic!("{all:?}")
    };
    assert_eq!(
        (&*main.place, &*main.name),
        ("a.yaml: document 1, line 2", "shop/main")
    );
    assert_eq!(main.verdict, Verdict::Differs);
    assert_eq!(line(main, "route"), ["shop.test/ -> shop/web:80"]);
    assert_eq!(line(main, "tls"), ["shop.test by secret shop/shop-tls"]);
    assert!(line(main, "class")[0].starts_with("nginx; set ingressClassName: tidegate"));
    assert!(line(main, "differs")[0].contains("/proxy-body-size: there is no bound"));
    assert_eq!(line(main, "differs").len(), 1, "{main:?}");
    assert!(line(main, "ignored")[0].contains("/proxy-buffer-size: "));
    assert!(line(main, "works")[0].contains("/ssl-redirect: "));
    assert_eq!(
        (&*admin.place, admin.verdict),
        ("a.yaml: document 2, line 28", Verdict::Fails)
    );
    assert_eq!(line(admin, "route"), ["*/ -> default/admin:unsupported"]);
    assert_eq!(line(admin, "class"), [""; 0]);
    assert!(line(admin, "fails")[0].contains("auth-type"));
}

#[test]
fn reads_what_kubectl_prints_as_json_and_looks_at_services_that_are_there() {
    let text = r#"{ "apiVersion": "networking.k8s.io/v1", "kind": "IngressList", "items": [{
        "metadata": { "name": "a", "namespace": "shop" }, "spec": { "ingressClassName": "tidegate",
        "defaultBackend": { "service": { "name": "web", "port": { "number": 81 } } } }, "status": { "loadBalancer": {} } }] }"#;
    let mut manifests = Manifests::default();
    manifests.add("a.json", text).unwrap();
    assert_eq!(manifests.judge()[0].verdict, Verdict::Works);
    let service = "kind: Service\nmetadata: { name: web, namespace: shop }\nspec: { ports: [{ port: 80 }] }\n";
    manifests.add("b.yaml", service).unwrap();
    let judged = manifests.judge();
    assert_eq!(judged[0].verdict, Verdict::Fails);
    assert!(line(&judged[0], "differs")[0].contains("service shop/web has no port 81"));
}

#[test]
fn tells_of_conflicts_over_all_files() {
    let rule = "[{ host: x, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }]";
    let one = |name: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: {name} }}\nspec: {{ rules: {rule} }}\n"
        )
    };
    let mut manifests = Manifests::default();
    manifests.add("b.yaml", &one("b")).unwrap();
    manifests.add("a.yaml", &one("a")).unwrap();
    let judged = manifests.judge();
    assert!(line(&judged[0], "differs")[0].contains("belongs to ingress default/a"));
    assert_eq!(line(&judged[1], "differs"), [""; 0]);
}

#[test]
fn names_document_and_object_of_what_cannot_be_read() {
    let mut manifests = Manifests::default();
    let text = "kind: Ingress\napiVersion: extensions/v1beta1\nmetadata: { name: old }\n---\n\
                apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: b, annotations: { a: true } }\n---\n\
                a: b\n---\nkind: Ingress\n";
    let faults = manifests.add("a.yaml", text).unwrap_err();
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(lines[0].starts_with("1:1: Ingress default/old: document 1: is of extensions/v1beta1"));
    assert!(lines[1].starts_with("5:1: Ingress default/b: document 2: cannot be read: "));
    assert!(lines[2].contains("document 3: no object of Kubernetes"));
    assert!(lines[3].contains("document 4: it has no metadata.name"));
    assert_eq!(manifests.add("x", "a: [").unwrap_err().len(), 1);
}
