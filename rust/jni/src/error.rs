//! What a native method tells Java when it fails, panics included.

use std::any::Any;
use std::io;

use jni::Env;
use jni::errors::ErrorPolicy;
use jni::strings::{JNIStr, JNIString};

pub(crate) type Result<T> = std::result::Result<T, BridgeError>;

/// A failure on its way to Java; each kind is one exception class.
#[derive(Debug)]
pub(crate) enum BridgeError {
    /// The caller passed something that cannot be meant: `IllegalArgumentException`.
    Argument(String),
    /// The object is not in a state for this call: `IllegalStateException`.
    State(String),
    /// The operating system refused: `BindException`, `ConnectException` or `IOException`.
    Io(io::Error, String),
    /// A JNI call failed. When Java threw, its exception is pending and stays.
    Jni(jni::errors::Error),
}

impl From<jni::errors::Error> for BridgeError {
    fn from(error: jni::errors::Error) -> Self {
        Self::Jni(error)
    }
}

impl BridgeError {
    fn throw(self, env: &mut Env<'_>) -> jni::errors::Result<()> {
        if env.exception_check() {
            return Ok(());
        }
        let (class, message) = match self {
            Self::Argument(message) => ("java/lang/IllegalArgumentException", message),
            Self::State(message) => ("java/lang/IllegalStateException", message),
            Self::Io(error, what) => (io_class(&error), format!("{what}: {error}")),
            Self::Jni(error) => ("java/lang/IllegalStateException", error.to_string()),
        };
        throw(env, class, &message)
    }
}

fn io_class(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => "java/net/BindException",
        io::ErrorKind::ConnectionRefused => "java/net/ConnectException",
        _ => "java/io/IOException",
    }
}

fn throw(env: &mut Env<'_>, class: &str, message: &str) -> jni::errors::Result<()> {
    let class: &JNIStr = &JNIString::new(class);
    match env.throw_new(class, JNIString::new(message)) {
        // The crate reports the exception that it has just thrown as an error.
        Err(jni::errors::Error::JavaException) => Ok(()),
        other => other,
    }
}

/// What the panic said. The stock policy of the `jni` crate loses messages
/// that were formatted, which are most of them.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&'static str>().copied())
        .unwrap_or("panic without a message")
}

/// The one policy of every native method: errors become their exception, a
/// panic becomes an `IllegalStateException` with its message. The return value is then ignored.
pub(crate) enum ThrowMapped {}

impl<T: Default> ErrorPolicy<T, BridgeError> for ThrowMapped {
    type Captures<'unowned_env_local: 'native_method, 'native_method> = ();

    fn on_error<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        _captures: &mut (),
        error: BridgeError,
    ) -> jni::errors::Result<T> {
        error.throw(env)?;
        Ok(T::default())
    }

    fn on_panic<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        _captures: &mut (),
        payload: Box<dyn Any + Send + 'static>,
    ) -> jni::errors::Result<T> {
        let message = format!("bug in the native library: {}", panic_message(&*payload));
        if !env.exception_check() {
            throw(env, "java/lang/IllegalStateException", &message)?;
        }
        Ok(T::default())
    }
}
