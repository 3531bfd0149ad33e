//! The exchanges that Java knows, by handle.

use httpkit_core::server::Exchange;

use crate::border::handle::HandleTable;

/// An exchange is here from the moment when its request is handed over until it is answered, or, as a channel, until
/// its closing is told.
pub(crate) static EXCHANGES: HandleTable<Exchange> = HandleTable::new();
