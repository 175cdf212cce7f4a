// Package disk keeps a storage node's sealed bytes: sector files, their directories and the table generations that reports
// name. It is the only code that opens these files, and it holds no key: what it stores is noise to it.
//
//	sectors/NNNNNN             one sector, allocated whole (protocol/storageproof has the layout)
//	index/NNNNNN.dir           the directory of a data sector: its storageproof.Records, appended
//	index/table-<n>-<hash>     the sector table, orders and signed bytes of report n
//	lock                       held by the one process that uses the folder
//	lost, draining             marks: what the operator decided about the folder
//	lost+found/<n>/            sectors that the operator gave up (SetAside); nothing here reads or deletes them
//
// A sector file passes through these states:
//
//	state      begins                        ends
//	reserved   Reserve                       BeginFree, BeginData or Delete
//	writing    BeginFree, BeginData          Finish, or a failed write: then it takes no more
//	resting    Finish, Adopt                 Delete
//	orphan     Open finds a file             Adopt, or Prune deletes it
//
// Verify holds the files against the accepted table without taking the folder; Damaged looks for files that are gone while they are in use.
// Present tells a folder that was taken away from one that lost its bytes.
//
// What a power cut can take is bounded by Sync: bytes written before it are on the medium after it. A report is made durable
// (Sync, then Save) before it is posted, so whatever an accepted report names survives. Nothing of an earlier generation is
// overwritten: sectors only grow, and a file disappears only by Delete and Prune.
package disk
