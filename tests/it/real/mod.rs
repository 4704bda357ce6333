//! Tidegate between clients and servers that others wrote: what a test's own client takes for a good ending means little if
//! the libraries that people use see another.
//!
//! The programs are scripts of `tests/real`, run by the Python that `tests/setup.sh` installs under `target/real`, and curl.
//!
//! # The endings of P5, and who sees each
//!
//! Raw clients of ours look at every byte and at the moment; clients of others tell what it means to them. `curl` is
//! `curl::curl_sees_every_ending_of_the_table`, with HTTP/1.1 and HTTP/2; `grpcio` is
//! `grpc::at_the_deadline_every_kind_of_call_is_unavailable_and_what_came_is_whole`.
//!
//! | in flight at the deadline | HTTP/1 | HTTP/2 | gRPC |
//! |---|---|---|---|
//! | no response byte yet | `deadline::without_an_answer_it_is_504_and_the_connection_goes_on`, curl: 504 | `http2::the_deadline_answers_what_has_no_head_yet`, curl: 504 | `grpc::without_an_answer_the_deadline_is_a_status`, grpcio: UNAVAILABLE |
//! | body in progress | `deadline::a_body_in_progress_is_aborted_and_never_looks_whole`, curl: 18 | `http2::the_deadline_resets_a_body_in_progress`, curl: 92, INTERNAL_ERROR | at a boundary: `grpc::a_stream_ends_with_a_status_behind_the_message`, grpcio: UNAVAILABLE, `real::boundaries` at every byte; without one: `grpc::inside_a_message_it_is_aborted`, grpcio in `real::boundaries` |
//! | upload in progress | `deadline::an_upload_in_progress_is_504_and_a_lingering_close`, curl: 504 | `http2::the_deadline_answers_an_upload_and_stops_it`, curl: 504 | grpcio: UNAVAILABLE (`collect`) |
//! | WebSocket | `tunnel` (the Close, its echo, the times), `real::websocket`, `real::boundaries` at every byte, `streams_rollout`: 1012 | | |
//! | event stream, GET | `deadline::an_event_stream_ends_well_between_two_events`, curl: 0, an EventSource in `real::boundaries` at every byte, `streams_rollout` | `http2::an_event_stream_ends_well_at_the_deadline`, curl: 0 | |
//! | body without a length | `deadline::a_body_without_a_length_ends_with_a_reset`, curl: 56 | | |
//! | event stream by another method, or encoded | `deadline::an_event_stream_that_no_browser_asks_for_again_is_a_body`, curl: 18 | curl: 92 | |
//! | other upgrade | `tunnel::another_protocol_is_half_closed_and_cut` | | |
//!
//! Spread over the window: `tunnel::the_moments_are_spread_over_the_window`, `deadline::event_streams_end_spread_over_the_window`,
//! and `streams_rollout` with all kinds at once. gRPC-Web: `grpc::grpc_web_ends_with_its_own_frame`.

mod boundaries;
mod curl;
mod grpc;
mod program;
mod websocket;

use program::Program;
