//! The token auth method: `auth/token`.
