//! The objects of the Gateway API, as far as they are looked at.
//!
//! Shapes of our own: the crate that has them belongs to another version of the client than the rest of the tree, which would
//! then be there twice. What an object asks for beyond them is found where it matters, as a value that nobody here reads.
//! An object that does not fit is told so and breaks nothing else, so its spec is read apart from the object.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "S: DeserializeOwned")]
pub(in crate::kubernetes) struct Object<S> {
    #[serde(default)]
    pub(super) metadata: ObjectMeta,
    /// What it asks for, or why that cannot be read.
    #[serde(deserialize_with = "apart")]
    pub(super) spec: Result<S, String>,
    #[serde(default)]
    pub(super) status: Value,
}

pub(in crate::kubernetes) type GatewayClass = Object<ClassSpec>;
pub(in crate::kubernetes) type Gateway = Object<GatewaySpec>;
pub(in crate::kubernetes) type HttpRoute = Object<HttpSpec>;
pub(in crate::kubernetes) type GrpcRoute = Object<GrpcSpec>;
pub(in crate::kubernetes) type ReferenceGrant = Object<GrantSpec>;

/// What a kind is called.
pub(in crate::kubernetes) trait Kind {
    type Scope;
    const NAME: &'static str;
    const PLURAL: &'static str;
    const VERSION: &'static str = "v1";
    /// The group and version.
    const API_VERSION: &'static str = "gateway.networking.k8s.io/v1";
    /// The plural and `/status`, as permissions have it.
    const STATUS: &'static str;
}

impl<S: Kind> Resource for Object<S> {
    type DynamicType = ();
    type Scope = S::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        S::NAME.into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        S::VERSION.into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        S::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn apart<'de, D: Deserializer<'de>, S: DeserializeOwned>(
    from: D,
) -> Result<Result<S, String>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).map_err(|error| error.to_string()))
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct ClassSpec {
    pub(super) controller_name: String,
    pub(super) parameters_ref: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct GatewaySpec {
    pub(super) gateway_class_name: String,
    #[serde(default)]
    pub(super) listeners: Vec<Listener>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct Listener {
    pub(super) name: String,
    pub(super) hostname: Option<String>,
    pub(super) port: u16,
    pub(super) protocol: String,
    pub(super) tls: Option<ListenerTls>,
    #[serde(default)]
    pub(super) allowed_routes: AllowedRoutes,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct ListenerTls {
    pub(super) mode: Option<String>,
    #[serde(default)]
    pub(super) certificate_refs: Vec<Reference>,
    pub(super) frontend_validation: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::kubernetes) struct AllowedRoutes {
    #[serde(default)]
    pub(super) namespaces: RouteNamespaces,
    #[serde(default)]
    pub(super) kinds: Vec<RouteKind>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::kubernetes) struct RouteNamespaces {
    pub(super) from: Option<String>,
    pub(super) selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct RouteKind {
    pub(super) group: Option<String>,
    pub(super) kind: String,
}

/// An object that another one names: a Secret, a Service, a Gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct Reference {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) section_name: Option<String>,
    pub(super) port: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct HttpSpec {
    #[serde(default)]
    pub(super) parent_refs: Vec<Reference>,
    #[serde(default)]
    pub(super) hostnames: Vec<String>,
    #[serde(default)]
    pub(super) rules: Vec<HttpRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct HttpRule {
    #[serde(default)]
    pub(super) matches: Vec<HttpMatch>,
    #[serde(default)]
    pub(super) filters: Vec<Filter>,
    #[serde(default)]
    pub(super) backend_refs: Vec<BackendRef>,
    pub(super) timeouts: Option<HttpTimeouts>,
    pub(super) retry: Option<Value>,
    pub(super) session_persistence: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct HttpTimeouts {
    pub(super) request: Option<String>,
    pub(super) backend_request: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct HttpMatch {
    pub(super) path: Option<Matched>,
    #[serde(default)]
    pub(super) headers: Vec<Matched>,
    #[serde(default)]
    pub(super) query_params: Vec<Matched>,
    pub(super) method: Option<String>,
}

/// A value to be compared, by name where there are several.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct Matched {
    #[serde(rename = "type")]
    pub(super) by: Option<String>,
    #[serde(default)]
    pub(super) name: String,
    pub(super) value: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct Filter {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) request_header_modifier: Option<HeaderModifier>,
    pub(super) response_header_modifier: Option<HeaderModifier>,
    pub(super) request_redirect: Option<RequestRedirect>,
    pub(super) url_rewrite: Option<UrlRewrite>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct HeaderModifier {
    #[serde(default)]
    pub(super) set: Vec<Header>,
    #[serde(default)]
    pub(super) add: Vec<Header>,
    #[serde(default)]
    pub(super) remove: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct RequestRedirect {
    pub(super) scheme: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) path: Option<PathModifier>,
    pub(super) port: Option<u16>,
    pub(super) status_code: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct UrlRewrite {
    pub(super) hostname: Option<String>,
    pub(super) path: Option<PathModifier>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct PathModifier {
    pub(super) replace_full_path: Option<String>,
    pub(super) replace_prefix_match: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct BackendRef {
    #[serde(flatten)]
    pub(super) to: Reference,
    pub(super) weight: Option<u32>,
    #[serde(default)]
    pub(super) filters: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct GrpcSpec {
    #[serde(default)]
    pub(super) parent_refs: Vec<Reference>,
    #[serde(default)]
    pub(super) hostnames: Vec<String>,
    #[serde(default)]
    pub(super) rules: Vec<GrpcRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct GrpcRule {
    #[serde(default)]
    pub(super) matches: Vec<GrpcMatch>,
    #[serde(default)]
    pub(super) filters: Vec<Filter>,
    #[serde(default)]
    pub(super) backend_refs: Vec<BackendRef>,
    pub(super) session_persistence: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::kubernetes) struct GrpcMatch {
    pub(super) method: Option<GrpcMethod>,
    #[serde(default)]
    pub(super) headers: Vec<Matched>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct GrpcMethod {
    #[serde(rename = "type")]
    pub(super) by: Option<String>,
    pub(super) service: Option<String>,
    pub(super) method: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct GrantSpec {
    pub(super) from: Vec<GrantFrom>,
    pub(super) to: Vec<GrantTo>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct GrantFrom {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::kubernetes) struct GrantTo {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: Option<String>,
}

impl Kind for ClassSpec {
    type Scope = ClusterResourceScope;
    const NAME: &str = "GatewayClass";
    const PLURAL: &str = "gatewayclasses";
    const STATUS: &str = "gatewayclasses/status";
}

impl Kind for GatewaySpec {
    type Scope = NamespaceResourceScope;
    const NAME: &str = "Gateway";
    const PLURAL: &str = "gateways";
    const STATUS: &str = "gateways/status";
}

impl Kind for HttpSpec {
    type Scope = NamespaceResourceScope;
    const NAME: &str = "HTTPRoute";
    const PLURAL: &str = "httproutes";
    const STATUS: &str = "httproutes/status";
}

impl Kind for GrpcSpec {
    type Scope = NamespaceResourceScope;
    const NAME: &str = "GRPCRoute";
    const PLURAL: &str = "grpcroutes";
    const STATUS: &str = "grpcroutes/status";
}

impl Kind for GrantSpec {
    type Scope = NamespaceResourceScope;
    const NAME: &str = "ReferenceGrant";
    const PLURAL: &str = "referencegrants";
    const STATUS: &str = "referencegrants/status";
    /// What every version of the API serves; v1 came late and says the same.
    const VERSION: &str = "v1beta1";
    const API_VERSION: &str = "gateway.networking.k8s.io/v1beta1";
}

/// All of them are in it.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";
