//! From an offer that is followed to a release on trial.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use launcher::crash;
use launcher::keys::Keys;
use launcher::release::{self, Manifest};
use launcher::state::{Pending, State};
use wire::heartbeat::{UpgradeOffer, UpgradePhase};

use crate::slots::send_offset;
use crate::upgrade::fetch::Fetch;
use crate::upgrade::install::{self, Fetched};
use crate::upgrade::offer::{has_agent, has_cfg, release_of};
use crate::upgrade::preflight::Preflight;
use crate::upgrade::{Shared, is_part, millis};

impl Shared {
    // Everything up to the moment when the new release is written down as on trial.
    pub(super) async fn prepare(
        &self,
        offer: &UpgradeOffer,
        state: &State,
        keys: &Keys,
        active: Option<&Manifest>,
    ) -> anyhow::Result<()> {
        let release = release_of(offer);
        let is_kept = self.is_previous(offer, &release, state, keys);
        let mut bytes = 0;
        if !is_kept {
            let (fetched, size) = self.fetch(offer, &release).await?;
            bytes = size;
            crash::point(&self.layout, "fetched");
            self.progress(offer, UpgradePhase::Verifying, bytes);
            // What was fetched whole and is not right must not be gone on with.
            let installed = self.check_and_install(offer, &release, &fetched, state, keys, active);
            installed.await.inspect_err(|_| self.forget_downloads())?;
            crash::point(&self.layout, "installed");
        }
        let pending = Pending {
            release,
            version: offer.version.clone(),
            md5: offer.binfile_md5.clone(),
            rollout: offer.rollout.clone(),
            local_ms: millis(self.config.local_timeout),
            contact_ms: millis(self.config.contact_timeout),
            bytes,
            ..Pending::default()
        };
        State::update(&self.layout, |state| state.begin(pending))?;
        crash::point(&self.layout, "pending");
        self.forget_downloads();
        Ok(())
    }

    async fn check_and_install(
        &self,
        offer: &UpgradeOffer,
        release: &str,
        fetched: &Fetched,
        state: &State,
        keys: &Keys,
        active: Option<&Manifest>,
    ) -> anyhow::Result<()> {
        let manifest = install::verify(offer, fetched, active, keys)?;
        self.preflight(offer, fetched, state).await.context("preflight")?;
        crash::point(&self.layout, "verified");
        install::install(&self.layout, release, &manifest, fetched, state)
    }

    // The release to go back to is still there, byte for byte what is offered: nothing needs to be fetched.
    fn is_previous(&self, offer: &UpgradeOffer, release: &str, state: &State, keys: &Keys) -> bool {
        let is_same =
            |ours: &str, offered: &str| offered.is_empty() || ours.eq_ignore_ascii_case(offered);
        state.previous.as_deref() == Some(release)
            && release::check(&self.layout, release, keys).is_ok_and(|kept| {
                is_same(&kept.md5, &offer.binfile_md5)
                    && is_same(&kept.sha256, &offer.sha256)
                    && is_same(&kept.cfg_md5, &offer.cfgfile_md5)
                    && is_same(&kept.cfg_sha256, &offer.cfg_sha256)
            })
    }

    async fn fetch(&self, offer: &UpgradeOffer, release: &str) -> anyhow::Result<(Fetched, u64)> {
        let folder = self.layout.downloads();
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        self.keep_downloads(release);
        let share = format!("{} {}", self.endpoint, offer.rollout);
        let spread = Duration::from_secs(offer.spread_seconds.into());
        self.ctx.clock.sleep(send_offset(&share, spread)).await;
        let jitter = send_offset(&share, Duration::from_secs(1)).as_secs_f64();
        let base = offer.wgeturl.trim_end_matches('/');
        let mut before = 0;
        let mut get = async |prefix: &str| {
            let fetch = Fetch {
                url: format!("{base}/{prefix}_{}", offer.version),
                to: folder.join(format!("{release}.{prefix}.part")),
                bytes_max: self.config.bytes_max,
                rate_bytes: offer.rate_bytes,
                timeout: self.config.download_timeout,
                jitter,
            };
            let mut progress =
                |bytes| self.progress(offer, UpgradePhase::Downloading, before + bytes);
            before += fetch.run(&self.ctx.http, &mut progress).await?;
            anyhow::Ok(fetch.to)
        };
        let mut fetched = Fetched::default();
        if has_agent(offer.kind) {
            fetched.agent = Some(get("bin").await?);
        }
        if has_cfg(offer.kind) {
            fetched.cfg = Some(get("cfg").await?);
        }
        Ok((fetched, before))
    }

    async fn preflight(
        &self,
        offer: &UpgradeOffer,
        fetched: &Fetched,
        state: &State,
    ) -> anyhow::Result<()> {
        let program = match &fetched.agent {
            Some(file) => {
                install::make_program(file)?;
                file.clone()
            }
            None => std::env::current_exe().context("find the program that runs")?,
        };
        let kept = || {
            let cfg = self.layout.cfg(state.active.as_deref()?);
            cfg.exists().then_some(cfg)
        };
        let preflight = Preflight {
            program,
            version: has_agent(offer.kind).then(|| offer.version.clone()),
            config: self.started.config.clone(),
            overlay: fetched.cfg.clone().or_else(kept),
        };
        preflight.run().await
    }

    // Parts of other offers are given up; one of this offer is gone on with.
    fn keep_downloads(&self, release: &str) {
        if let Ok(state) = State::load(&self.layout) {
            let prefix = format!("{release}.");
            install::tidy(&self.layout, &state, |name| is_part(name) && name.starts_with(&prefix));
        }
    }

    fn forget_downloads(&self) {
        if let Ok(state) = State::load(&self.layout) {
            install::tidy(&self.layout, &state, |_| false);
        }
    }
}
