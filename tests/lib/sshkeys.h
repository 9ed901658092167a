/* SPDX-License-Identifier: Apache-2.0 */
/* sshkeys.h - public keys that ssh-keygen made, and how it shows them. Their other halves are gone.
 */
#ifndef TESTS_LIB_SSHKEYS_H
#define TESTS_LIB_SSHKEYS_H

/* clang-format off */
#define SSH_ED25519 "AAAAC3NzaC1lZDI1NTE5AAAAIOT+YRjizyB+A0OWtI2oe7bBFVOGcptuh6zmSXaR1qbY"
#define SSH_ED25519_SHOWN "SHA256:YiNgNLY0PRy6IGn+TVVk+s3LHNr95FqiOor0UyzqsPA"
#define SSH_ECDSA "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMGtlW1jtceXxXnG8Mbv" \
	"KBdnIteWZyjSp2X2R+71aRmcY45Rl2TOOHZoMuFAefLJcNCB3OmFpcz66R/e9pYVtUw="
#define SSH_ECDSA_SHOWN "SHA256:D2ZVCWlNy1EfSRUQkVepErgj+NbQ3ZiyYL1bgZvDdeg"
#define SSH_RSA "AAAAB3NzaC1yc2EAAAADAQABAAABAQDykRYqBDetQnUMD2b/8GbE7jihH5Dba2AOUVj6WA7T" \
	"nBwfQkElds2cWjXK2X9UqDeWiF3v7bdc9RRUQkUj5PdRF+EdWQyos3aPyPvZ5BFRbS21QSGP" \
	"FxmmTkE9hZFs60tXn7GBdJc0Lpfdu371hQdWfJs12YGsPxe/C9KK9cYU5u8HQGG+fNfiyF+p" \
	"n9SQki8igsBZOomSPdynmcNPQWV//0sg0cWKxAQaDTgeIexV1tQFmbRBXr+5tBvC7zVdaNXH" \
	"lO4GAwF/fhfbJABtHpysaQ7+AKa+D9pvZ3sdeZnZM/ugCFQtcYhjHRkyZns3+tMOtWoaZC6i" \
	"SeYICPQyPxuF"
#define SSH_RSA_SHOWN "SHA256:i6wbYsa/PNnxCVwzkJChwjKBWI6W94SI19Al8aqL/ko"
#define SSH_RSA_1024 "AAAAB3NzaC1yc2EAAAADAQABAAAAgQCtccVEnxho97hywRZfkb76M1FZb0hwkzGZF6rVeCIA" \
	"rui77FlNc5zGbVLokHueOsEfEN6slzdXpqb8ZCIVBf30tpzT9KffvNHaK5UYXsldT1IdmkN+" \
	"FuS0TIJuovCtHbHfy/frlM5UXl+xD296tjY4zNlzN8m00ljnAqN30iNr7Q=="
/* clang-format on */

#endif
