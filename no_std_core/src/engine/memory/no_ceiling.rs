//! Where memory is borrowed it was taken before: there is no ceiling.

use super::Tables;
use crate::config::Config;

impl Tables<'_> {
    #[inline(always)]
    pub(crate) fn claim_what_hangs_at_entries(&mut self, _config: &Config<'_>) {}
}
