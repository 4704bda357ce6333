//! The one writer: only it admits, drains, buries and publishes (law 9).

mod handle;
mod view;

#[cfg(test)]
pub(crate) use handle::Request;
pub use handle::{
    DrainAnswer, DrainRequest, Handle, HandleError, PodAnswer, PodName, UndrainAnswer,
};
pub use view::{
    DrainView, DrainsView, EndpointView, Event, EventKind, Holder, Reason, RunningDrain,
    ServiceView, State,
};
