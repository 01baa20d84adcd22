//! Machine code on the host's disk: used when it is the host's own, and made anew, out of the serving path, when it is not
//! or is not there.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    bytes::{Upload, small},
    upload,
};
use crate::support::{Account, Database, Host, HostPlan, eventually, project, scratch};

/// A host with artefacts of its own, a project on it that uses one plugin, and the one artefact that there is.
struct Kept {
    plan: HostPlan,
    folder: PathBuf,
    account: Account,
    _database: Database,
}

impl Kept {
    async fn new(name: &str) -> (Self, Host) {
        let database = Database::fresh().await;
        let data = scratch().join(name);
        fs::create_dir(&data).expect("the scratch folder is ours");
        let plan = HostPlan::on(&database.url).set("data_dir", data.to_str().expect("a plain path"));
        let host = plan.start().await;
        let account = Account::new(&host.operator(), "acme").await;
        upload(&account, "small", 1, small()).await.expect(201);
        let mut manifest = project("kept", &json!({ "only": { "plugin": "small", "inputs": {} } }));
        manifest["plugins"] = json!({ "small": "small@^1" });
        account.api.put("/v1/projects/kept", &manifest).await.expect(201);
        (Self { plan, folder: data.join("artefacts"), account, _database: database }, host)
    }

    fn artefacts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "artefact")).collect()
    }

    fn artefact(&self) -> PathBuf {
        let [one] = &self.artefacts()[..] else { panic!("one artefact: {:?}", self.artefacts()) };
        one.clone()
    }

    /// Starts the host again, and runs the plugin on it.
    async fn run_again(&self) -> Host {
        let host = self.plan.start().await;
        self.account.at(&host).run("kept", &Value::Null).await;
        host
    }
}

async fn stop(host: Host) {
    host.terminate().await;
    host.ended().await;
}

#[tokio::test]
async fn an_artefact_with_one_bit_flipped_is_compiled_anew_and_the_run_succeeds() {
    let (kept, host) = Kept::new("flipped").await;
    stop(host).await;
    let path = kept.artefact();
    let whole = fs::read(&path).expect("the artefact");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&path, &flipped).expect("it is ours");
    let host = kept.run_again().await;
    assert!(host.log().contains("was altered since it was written"), "{}", host.log());
    assert_ne!(fs::read(&path).expect("the artefact"), flipped, "it was written anew");
}

#[tokio::test]
async fn artefacts_that_are_links_or_open_to_others_are_not_used() {
    let (kept, host) = Kept::new("foreign").await;
    stop(host).await;
    let path = kept.artefact();
    let elsewhere = kept.folder.with_file_name("elsewhere");
    fs::rename(&path, &elsewhere).expect("it is ours");
    symlink(&elsewhere, &path).expect("it is ours");
    let host = kept.run_again().await;
    assert!(host.log().contains("is a link, which is not followed here"), "{}", host.log());
    assert!(fs::symlink_metadata(&path).expect("written anew").is_file());
    stop(host).await;

    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("it is ours");
    let host = kept.run_again().await;
    assert!(host.log().contains("can be read by others (mode 660)"), "{}", host.log());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn the_folder_of_artefacts_is_closed_to_others_and_its_key_must_be() {
    let (kept, host) = Kept::new("private").await;
    stop(host).await;
    assert_eq!(mode(&kept.folder), 0o700);
    fs::set_permissions(&kept.folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
    stop(kept.run_again().await).await;
    assert_eq!(mode(&kept.folder), 0o700, "a host closes it");

    fs::set_permissions(kept.folder.join("artefacts.key"), fs::Permissions::from_mode(0o640)).expect("it is ours");
    let host = kept.plan.launch().await;
    assert!(!host.is_ready, "it starts with a key that others can read");
    assert!(host.log().contains("can be read by others (mode 640)"), "{}", host.log());
}

#[tokio::test]
async fn a_host_that_has_no_machine_code_makes_it_before_a_run_needs_it() {
    let (kept, host) = Kept::new("prepared").await;
    stop(host).await;
    fs::remove_dir_all(&kept.folder).expect("it is ours");
    let host = kept.plan.start().await;
    eventually("the plugin in use is compiled", async || kept.artefacts().pop()).await;

    // And on a host that has seen neither the upload nor the deployment.
    let data = kept.folder.with_file_name("neighbour");
    let neighbour = kept.plan.clone().set("data_dir", data.to_str().expect("a plain path")).start().await;
    let bytes = Upload::of(small().bytes()).marked("another");
    upload(&kept.account.at(&host), "small", 2, bytes).await.expect(201);
    let mut manifest = project("kept", &json!({ "only": { "plugin": "small", "inputs": {} } }));
    manifest["plugins"] = json!({ "small": "small@^2" });
    kept.account.at(&host).api.put("/v1/projects/kept", &manifest).await.expect(201);
    eventually("both plugins are compiled there as well", async || {
        let made = fs::read_dir(data.join("artefacts")).ok()?;
        (made
            .filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "artefact"))
            })
            .count()
            == 2)
            .then_some(())
    })
    .await;
    drop(neighbour);
}
