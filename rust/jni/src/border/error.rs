//! How failures of native methods reach Java, including panics.

use std::any::Any;
use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::sync::OnceLock;

use jni::errors::ErrorPolicy;
use jni::exceptions as java;
use jni::objects::JClass;
use jni::refs::{Global, LoaderContext, Reference};
use jni::strings::JNIString;
use jni::{Env, jni_str};

pub(crate) type Result<T> = std::result::Result<T, BridgeError>;

/// A failure on its way to Java; each kind is one exception class.
#[derive(Debug)]
pub(crate) enum BridgeError {
    /// The caller passed an invalid argument: `IllegalArgumentException`.
    Argument(String),
    /// The object is not in a state for this call: `IllegalStateException`.
    State(String),
    /// The operating system refused: `BindException`, `ConnectException` or `IOException`.
    Io(io::Error, String),
    /// A JNI call failed. If Java threw, its exception stays pending.
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
            Self::Argument(message) => (Exception::Argument, message),
            Self::State(message) => (Exception::State, message),
            Self::Io(error, what) => (Exception::of(&error), format!("{what}: {error}")),
            Self::Jni(error) => (Exception::State, error.to_string()),
        };
        throw(env, class, &message)
    }
}

/// `n` as a `T`. If it does not fit, the exception names `what` it is.
pub(crate) fn number<N: Copy + Display, T: TryFrom<N>>(n: N, what: &str) -> Result<T> {
    T::try_from(n).map_err(|_| BridgeError::Argument(format!("{what} {n}")))
}

/// The exception classes thrown here, in the order of [`CLASSES`].
#[derive(Clone, Copy)]
enum Exception {
    Argument,
    State,
    Io,
    Bind,
    Connect,
}

static CLASSES: OnceLock<[Global<JClass<'static>>; 5]> = OnceLock::new();

impl Exception {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied => Self::Bind,
            io::ErrorKind::ConnectionRefused => Self::Connect,
            _ => Self::Io,
        }
    }
}

/// Looks up all exception classes, ours and those that the `jni` crate distinguishes when it catches one.
///
/// Not when they are needed, since a look-up takes memory. Without memory, the crate's look-up fails with an exception
/// whose class it then looks up, and so on until the stack overflows, which ends the JVM.
pub(crate) fn resolve(env: &mut Env<'_>) -> jni::errors::Result<()> {
    let mut class = |name| -> jni::errors::Result<_> {
        let found = env.find_class(name)?;
        env.new_global_ref(&found)
    };
    let classes = [
        class(jni_str!("java/lang/IllegalArgumentException"))?,
        class(jni_str!("java/lang/IllegalStateException"))?,
        class(jni_str!("java/io/IOException"))?,
        class(jni_str!("java/net/BindException"))?,
        class(jni_str!("java/net/ConnectException"))?,
    ];
    let _ = CLASSES.set(classes);
    macro_rules! caught {
        ($($class:ident)*) => {
            $(java::$class::lookup_class(env, &LoaderContext::default())?;)*
        };
    }
    caught!(JOutOfMemoryError JSecurityException JLinkageError JNoClassDefFoundError JClassNotFoundException
        JClassFormatError JClassCircularityError JExceptionInInitializerError JIllegalArgumentException
        JArrayIndexOutOfBoundsException JArrayStoreException JNoSuchMethodError JInstantiationException);
    Ok(())
}

fn throw(env: &mut Env<'_>, class: Exception, message: &str) -> jni::errors::Result<()> {
    let Some(classes) = CLASSES.get() else {
        return Ok(());
    };
    match env.throw_new(&classes[class as usize], JNIString::new(message)) {
        // The crate reports the exception that it has just thrown as an error.
        Err(jni::errors::Error::JavaException) => Ok(()),
        other => other,
    }
}

/// Writes a line to standard error. Unlike `eprintln!`, it does not panic if standard error is closed.
pub(crate) fn complain(line: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "http-kit: {line}");
}

/// Runs an upcall in its own local frame; false if it failed. No exception is pending afterwards: it would be thrown by
/// the native method that Java had called, even the one that runs the loop.
///
/// The Java side catches exceptions of user code, so a failure here means a JVM without memory. The report uses as
/// little memory as possible: even the exception's message would take some.
pub(crate) fn upcall(
    env: &mut Env<'_>,
    references: usize,
    run: impl FnOnce(&mut Env<'_>) -> jni::errors::Result<()>,
) -> bool {
    let result = env.with_local_frame(references, run);
    if let Err(error) = &result {
        failed(env, error);
    }
    result.is_ok()
}

/// Reports that a call to Java has failed, and leaves no exception pending.
pub(crate) fn failed(env: &Env<'_>, error: &jni::errors::Error) {
    complain(format_args!("a call of Java failed: {error}"));
    if env.exception_check() {
        env.exception_describe();
        env.exception_clear();
    }
}

/// The panic's message. The stock policy of the `jni` crate loses formatted messages, which are most of them.
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
            throw(env, Exception::State, &message)?;
        }
        Ok(T::default())
    }
}
