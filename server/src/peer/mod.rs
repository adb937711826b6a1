pub(crate) mod address_book;
pub(crate) mod dial_errors;
pub(crate) mod joining;
pub(crate) mod link;
pub(crate) mod search;
pub(crate) mod vote_socket;
