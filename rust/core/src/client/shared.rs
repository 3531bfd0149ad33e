//! State shared by all tasks of a client's loop, except connections.

use super::ceiling::Room;
use super::control::Control;
use super::error::CallError;
use super::sink::{CallId, Sink};
use super::spec::ClientConfig;
use super::stats::Stats;
use super::untold::Untold;
use crate::net::hosted::{HostedTransports, TransportHost, TransportId};
use crate::net::tls::TlsContext;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Read buffer of the loop; every connection uses it in turn.
const SCRATCH: usize = 64 * 1024;

/// State of the loop that calls and connections need.
pub(super) struct Shared {
    pub sink: Arc<dyn Sink>,
    pub hosted: Arc<HostedTransports>,
    pub stats: Arc<Stats>,
    pub config: ClientConfig,
    pub tls: Mutex<Option<Arc<TlsContext>>>,
    pub scratch: Mutex<Box<[u8]>>,
    /// Calls in progress, by id.
    pub calls: Calls,
    pub untold: Untold,
    pub room: Room,
    pub stopping: AtomicBool,
}

impl Shared {
    pub(super) fn new(sink: Arc<dyn Sink>, stats: Arc<Stats>, config: ClientConfig) -> Arc<Self> {
        let host: Arc<dyn TransportHost> = sink.clone();
        Arc::new(Self {
            sink,
            hosted: HostedTransports::new(host),
            stats,
            config,
            tls: Mutex::new(None),
            scratch: Mutex::new(vec![0; SCRATCH].into_boxed_slice()),
            calls: Calls::default(),
            untold: Untold::default(),
            room: Room::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Reports the failure of a call, as soon as the sink can accept it.
    pub(super) fn report(&self, call: CallId, error: &CallError, transport: Option<TransportId>) {
        if !self.sink.on_failure(call, error, transport) {
            self.untold.keep(call, error.clone(), transport);
        }
    }
}

/// The calls in progress.
#[derive(Default)]
pub(super) struct Calls(Mutex<HashMap<CallId, Arc<Control>>>);

impl Calls {
    pub(super) fn register(&self, call: CallId, control: Arc<Control>) {
        self.0.lock().insert(call, control);
    }

    pub(super) fn unregister(&self, call: CallId) {
        self.0.lock().remove(&call);
    }

    /// Changes the control of a call and wakes its task; does nothing if the call has ended.
    pub(super) fn change(&self, call: CallId, change: impl FnOnce(&Control)) {
        let control = self.0.lock().get(&call).cloned();
        if let Some(control) = control {
            change(&control);
            control.wake();
        }
    }
}
