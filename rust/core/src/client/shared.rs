//! State shared by all tasks of a client's loop, except connections.

use super::ceiling::Room;
use super::control::Control;
use super::error::CallError;
use super::sink::{CallId, Sink};
use super::spec::Address;
use super::stats::Stats;
use super::untold::Untold;
use crate::net::foreign::{Foreigners, TransportHost, TransportId};
use crate::net::tls::TlsContext;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Read buffer of the loop; every connection uses it in turn.
const SCRATCH: usize = 64 * 1024;

/// State of the loop that calls and connections need.
pub(super) struct Shared {
    pub sink: Rc<dyn Sink>,
    pub foreigners: Rc<Foreigners>,
    pub stats: Arc<Stats>,
    pub bind: Option<Address>,
    pub tls: RefCell<Option<Arc<TlsContext>>>,
    pub scratch: RefCell<Box<[u8]>>,
    /// Calls in progress, by id.
    pub calls: Calls,
    pub untold: Untold,
    pub room: Room,
    pub stopping: Cell<bool>,
}

impl Shared {
    pub(super) fn new(sink: Rc<dyn Sink>, stats: Arc<Stats>, bind: Option<Address>) -> Rc<Self> {
        let host: Rc<dyn TransportHost> = sink.clone();
        Rc::new(Self {
            sink,
            foreigners: Foreigners::new(host),
            stats,
            bind,
            tls: RefCell::new(None),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            calls: Calls::default(),
            untold: Untold::default(),
            room: Room::default(),
            stopping: Cell::new(false),
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
pub(super) struct Calls(RefCell<HashMap<CallId, Rc<Control>>>);

impl Calls {
    pub(super) fn register(&self, call: CallId, control: Rc<Control>) {
        self.0.borrow_mut().insert(call, control);
    }

    pub(super) fn unregister(&self, call: CallId) {
        self.0.borrow_mut().remove(&call);
    }

    /// Changes the control of a call and wakes its task; does nothing if the call has ended.
    pub(super) fn change(&self, call: CallId, change: impl FnOnce(&Control)) {
        let control = self.0.borrow().get(&call).cloned();
        if let Some(control) = control {
            change(&control);
            control.wake();
        }
    }
}
