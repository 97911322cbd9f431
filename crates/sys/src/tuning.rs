//! What tuning a mount means, shared by `sys/mounts` and `sys/auth`.
