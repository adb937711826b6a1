//! The settings of the ensemble.

use gometa_proto::v1::{self, request::Operation as Body, response};

use crate::{client::Client, error::Result, types::Setting};

impl Client {
    /// Returns the settings of the ensemble, ascending by name, as the node in use has applied them.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable),
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded), and refusals of all nodes.
    pub async fn settings(&self) -> Result<Vec<Setting>> {
        self.call(Body::ListSettings(v1::ListSettings {}), |result| match result {
            response::Result::Settings(v1::Settings { settings }) => {
                Some(settings.into_iter().map(Setting::from_wire).collect())
            }
            _ => None,
        })
        .await
    }

    /// Changes a setting of the ensemble; `None` is its default. Returns the revision of the change.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no such setting, or the value is out of
    /// its bounds, and those of every write: see [`set`](Self::set).
    pub async fn set_setting(&self, name: &str, value: Option<u64>) -> Result<u64> {
        let body = Body::SetSetting(v1::SetSetting { name: name.to_owned(), value });
        self.call(body, |result| match result {
            response::Result::Written(written) => Some(written.revision),
            _ => None,
        })
        .await
    }
}
