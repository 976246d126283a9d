//! Puts the parts together and takes them down in order.
