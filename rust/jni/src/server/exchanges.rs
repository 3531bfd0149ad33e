//! The exchanges that Java knows, by handle.

use httpkit_core::server::Exchange;

use crate::border::handle::HandleTable;

/// An exchange is here from the handover of its request until its response is complete or, for a channel, until its
/// close event is delivered.
pub(crate) static EXCHANGES: HandleTable<Exchange> = HandleTable::new();
