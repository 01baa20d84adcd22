//! TLS for this process's own requests.

use std::sync::Once;

/// Makes ring the process's provider of cryptography, once. Needed before any client is built.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    // Someone else's choice, made earlier, serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
