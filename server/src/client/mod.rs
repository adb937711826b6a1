pub(crate) mod admission;
pub(crate) mod connection;
pub(crate) mod port;
pub(crate) mod registry;
#[cfg(test)]
mod tests;
