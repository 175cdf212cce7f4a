// Package threshold shares a signing key among weighted members (BLS on BLS12-381): who holds how many shares, how they make
// a key that nobody ever holds, hand it on, sign with it, and repair a member that lost its shares. Every message goes over
// the chain, and everyone who watches comes to the same verdicts by computing; nobody votes.
//
// A fresh key (DKG) and a handover (resharing) are one ceremony. The chain ends each phase with Advance:
//
//	phase      who            message                                        refused or blamed
//	keys       new members    a fresh encryption key, proven                 refused: another's key, another ceremony's
//	deal       dealers        commitments to a polynomial, its values        refused: copied, another's ephemeral key;
//	                          sealed to the members with keys                blamed (RuleDeal): another degree, another
//	                                                                         secret than the old share
//	complain   new members    the point shared with a dealer, proven:        blamed: the dealer if what everybody can now
//	                          opens that one deal to that one member         open does not fit (RuleDeal), else the
//	                                                                         accuser (RuleComplaint)
//	ready      new members    public keys of the own shares                  refused: not of the shares that were dealt
//	done                      Group: signs from here on
//	failed                    any phase brought less than the threshold's weight; the old group stays
//
// For a fresh key each member deals once, weighing its shares, and the secret is the sum. For a handover each old share is
// dealt once, and the first so many as make the key count. Groups may share members, or none. A dealer that is blamed has no deal
// that counts.
//
// A lost share is repaired (Repair) by helpers with the threshold between them, who send what their shares are worth at the lost
// ones, blinded, to a fresh key.
//
// Secrets (Member, Shares, Repairer) are never encoded but sealed, and are wiped once used. They pass through these functions of blst
// alone, which take the same steps for every secret: blst_scalar_from_be_bytes, blst_scalar_from_bendian and blst_sk_check (reading),
// blst_sk_mul_n_check, blst_sk_add_n_check, blst_sk_sub_n_check (arithmetic), blst_sk_to_pk2_in_g1 and _in_g2 (public keys), blst_p1_mult and
// blst_p1_to_affine (shared points, partial signatures), blst_p1_affine_compress and blst_bendian_from_scalar (sealing).
// What an accuser opens with is public by then. Streams are SHAKE256.
package threshold
