//! What objects are told about themselves. Pure.

use serde_json::{Value, json};

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    /// It holds, for the reason that is called as it is.
    pub(super) fn holds(kind: &'static str) -> Self {
        Self::holds_for(kind, kind)
    }

    pub(super) fn holds_for(kind: &'static str, reason: &'static str) -> Self {
        Self {
            kind,
            holds: true,
            reason,
            message: String::new(),
        }
    }

    /// It does not, and why.
    pub(super) fn fails(
        kind: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            holds: false,
            reason,
            message: message.into(),
        }
    }

    /// What is wrong, for conditions that hold when something is.
    pub(super) fn warns(
        kind: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            holds: true,
            ..Self::fails(kind, reason, message)
        }
    }
}

/// When and of which version of an object conditions are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion<'o> {
    pub(super) generation: Option<i64>,
    /// RFC 3339.
    pub(super) now: &'o str,
}

impl Occasion<'_> {
    /// The conditions as the API has them. One that says what it said `before` has not changed since.
    pub(super) fn write(&self, conditions: &[Condition], before: &Value) -> Value {
        let write = |one: &Condition| {
            let status = if one.holds { "True" } else { "False" };
            let before = before.as_array().and_then(|all| {
                all.iter()
                    .find(|it| it["type"] == one.kind && it["status"] == status)
            });
            let since = before.and_then(|it| it["lastTransitionTime"].as_str());
            let message: String = one.message.chars().take(MESSAGE_CHARS_MAX).collect();
            json!({
                "type": one.kind,
                "status": status,
                "reason": one.reason,
                "message": message,
                "observedGeneration": self.generation.unwrap_or_default(),
                "lastTransitionTime": since.unwrap_or(self.now),
            })
        };
        conditions.iter().map(write).collect()
    }
}

/// As many as the API takes are more.
const MESSAGE_CHARS_MAX: usize = 2000;
