//! The faulty disk is faulty in the ways that it promises.

use super::*;

#[test]
fn synced_bytes_and_names_survive_every_crash() {
    for seed in 0..100 {
        let disk = FaultyDisk::new();
        let file = disk.create_new("kept").unwrap();
        file.write_at(&[7; 3000], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(&[9; 3000], 1000).unwrap();
        disk.crash(seed);
        assert!(file.write_at(b"x", 0).is_err(), "a file is dead after a crash");
        let mut read = [0; 3000];
        disk.open("kept").unwrap().read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read[..1000], [7; 1000]);
        assert!(read.iter().all(|byte| *byte == 7 || *byte == 9));
    }
}

#[test]
fn what_is_not_synced_is_lost_or_torn_by_the_seed() {
    let outcome = |seed| {
        let disk = FaultyDisk::new();
        let file = disk.create_new("file").unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(&[1; 2048], 0).unwrap();
        disk.create_new("other").unwrap();
        disk.crash(seed);
        let mut read = vec![0; 2048];
        let count = disk.open("file").unwrap().read_at(&mut read, 0).unwrap();
        (read[..count].to_vec(), disk.exists("other").unwrap())
    };
    let outcomes: BTreeSet<_> = (0..50).map(outcome).collect();
    assert!(outcomes.len() > 4, "{} outcomes", outcomes.len());
    assert_eq!(outcome(11), outcome(11));
}

#[test]
fn capacity_fuse_and_failing_sync_do_what_they_say() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(100));
    let file = disk.create_new("file").unwrap();
    file.write_at(&[1; 100], 0).unwrap();
    file.write_at(&[2; 50], 50).unwrap();
    assert_eq!(file.write_at(&[1], 100).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.free_bytes().unwrap(), 0);
    disk.fail_next_sync();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    disk.set_fuse(Some(1));
    disk.rename("file", "renamed").unwrap();
    assert!(disk.remove("renamed").is_err());
    assert_eq!(disk.list("").unwrap(), ["renamed"]);
}

#[test]
fn what_a_failed_sync_left_is_lost_unless_it_is_written_again() {
    for again in [false, true] {
        let disk = FaultyDisk::new();
        let file = disk.create_new("file").unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(&[1; 10], 0).unwrap();
        disk.fail_next_sync();
        assert!(file.sync_data().is_err());
        if again {
            file.write_at(&[1; 10], 0).unwrap();
        }
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 10, "it is still to be read");
        disk.crash(0);
        assert_eq!(disk.open("file").unwrap().len().unwrap(), if again { 10 } else { 0 });
    }
}

#[test]
fn a_disk_that_lies_says_that_all_is_well() {
    let write = |lies: Lies| {
        let disk = FaultyDisk::new();
        disk.create_dir_all("dir").unwrap();
        disk.sync_dir("").unwrap();
        disk.lie(lies);
        let file = disk.create_new("dir/file").unwrap();
        file.write_at(&[7; 1000], 0).unwrap();
        disk.fail_next_sync();
        let first = file.sync_data().is_ok();
        file.sync_data().unwrap();
        disk.sync_dir("dir").unwrap();
        let left = disk.durable_fork();
        (first, left.open("dir/file").map_or(0, |file| file.len().unwrap()))
    };
    assert_eq!(write(Lies::default()), (false, 0));
    assert_eq!(write(Lies { about_sync_errors: true, ..Lies::default() }), (true, 0));
    let disk = FaultyDisk::new();
    for (lies, durable) in [
        (Lies { about_dir_syncs: true, ..Lies::default() }, None),
        (Lies { about_syncs_in: Some("f"), ..Lies::default() }, Some(0)),
        (Lies { about_syncs_in: Some("other"), ..Lies::default() }, Some(1000)),
    ] {
        disk.wipe();
        disk.lie(lies);
        let file = disk.create_new("file").unwrap();
        file.write_at(&[7; 1000], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir("").unwrap();
        let left = disk.durable_fork().open("file").ok().map(|file| file.len().unwrap());
        assert_eq!(left, durable, "{lies:?}");
    }
    assert_eq!(disk.content(), [("file".to_owned(), 1000)]);
    disk.cut_newest("fi", 100);
    assert_eq!(disk.content(), [("file".to_owned(), 900)]);
}
