/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The part of a session's `where` that the kernel evaluates. A tracker opts a field in with EU_WHERE_… at file scope, a line in
 * src/trackers/NAME.ts, and `if (eu_where && !eu_passes(…))` as soon as the value is known, before anything that costs. A rule that is
 * not in use is a constant 0, so that its branch is gone when the program is loaded.
 *
 * A value passes when its field's rule holds; the rules of a session are joined by AND. They are derived from the filter by
 * src/filter/push.ts, which also says what is left for user space. A rule must never refuse an event that the filter matches.
 */
#ifndef EUNOMIA_WHERE_BPF_H
#define EUNOMIA_WHERE_BPF_H

/* The low byte of a rule: how it compares. Above it: the set's number in the session's maps. */
enum eu_rule {
	EU_ANY = 0,
	EU_INSIDE = 1,  /* min to max, of numbers */
	EU_OUTSIDE = 2, /* below min or above max */
	EU_IN = 3,      /* one of a set: of numbers, or of beginnings */
	EU_NOT_IN = 4,
	EU_BITS = 5, /* those of min within the mask max, and, unless `any` is 0, one of these */
};
#define EU_RULE_NULL 0x80 /* beside EU_IN and EU_NOT_IN of texts and addresses: a null passes; else it does not */

/* Any rule of this object is in use. Asked first, and once for several rules: each constant that is read costs a load, branch or not. */
const volatile bool eu_where = false;
/* No event of this object matches. */
const volatile bool eu_where_none = false;

#define EU_WHERE_NUMBER(field)                          \
	const volatile __u32 eu_where_##field = EU_ANY; \
	const volatile __s64 eu_min_##field = 0;        \
	const volatile __s64 eu_max_##field = 0
#define EU_WHERE_BITS(field)    \
	EU_WHERE_NUMBER(field); \
	const volatile __s64 eu_any_##field = 0
#define EU_WHERE_TEXT(field) const volatile __u32 eu_where_##field = EU_ANY
#define EU_WHERE_ADDRESS(field) const volatile __u32 eu_where_##field = EU_ANY

struct eu_number {
	__u32 set;
	__u32 reserved; /* 0 */
	__s64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct eu_number);
	__type(value, __u8);
} eu_numbers SEC(".maps");

/* Beginnings of texts and addresses. A whole text is one that goes on to its NUL. */
#define EU_PREFIX_MAX 64
struct eu_prefix {
	__u32 bits; /* of what follows */
	__u32 set;
	__u8 bytes[EU_PREFIX_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct eu_prefix);
	__type(value, __u8);
} eu_prefixes SEC(".maps");

static __always_inline bool eu_number_passes(__u32 rule, __s64 min, __s64 max, __s64 value)
{
	struct eu_number key = { .set = rule >> 8, .value = value };
	__u32 how = rule & 0xff;

	if (how == EU_INSIDE)
		return value >= min && value <= max;
	if (how == EU_OUTSIDE)
		return value < min || value > max;
	return !!bpf_map_lookup_elem(&eu_numbers, &key) == (how == EU_IN);
}

static __always_inline bool eu_prefix_passes(__u32 rule, const struct eu_prefix *key)
{
	return !!bpf_map_lookup_elem(&eu_prefixes, key) == ((rule & 0x7f) == EU_IN);
}

/* A number; of an errno, the positive one. */
#define eu_passes(field, value) \
	(!eu_where_##field || eu_number_passes(eu_where_##field, eu_min_##field, eu_max_##field, value))

#define eu_passes_bits(field, value) \
	(!eu_where_##field ||        \
	 (((value)&eu_max_##field) == eu_min_##field && (!eu_any_##field || ((value)&eu_any_##field))))

/* `text`: NUL-terminated, in an array of at most EU_PREFIX_MAX bytes. */
#define eu_passes_chars(field, text)                                                                               \
	({                                                                                                         \
		bool eu_pass = true;                                                                               \
		if (eu_where_##field) {                                                                            \
			struct eu_prefix eu_key = { .bits = 32 + 8 * sizeof(text), .set = eu_where_##field >> 8 }; \
			__builtin_memcpy(eu_key.bytes, text, sizeof(text));                                        \
			eu_pass = eu_prefix_passes(eu_where_##field, &eu_key);                                     \
		}                                                                                                  \
		eu_pass;                                                                                           \
	})

/* An address; null where `is_null`. */
#define eu_passes_address(field, address, is_null)                                                                  \
	({                                                                                                          \
		bool eu_pass = true;                                                                                \
		if (eu_where_##field && (is_null)) {                                                                \
			eu_pass = eu_where_##field & EU_RULE_NULL;                                                  \
		} else if (eu_where_##field) {                                                                      \
			struct eu_prefix eu_key = { .bits = 32 + 8 * sizeof(eu_ip), .set = eu_where_##field >> 8 }; \
			__builtin_memcpy(eu_key.bytes, (address)->bytes, sizeof(eu_ip));                            \
			eu_pass = eu_prefix_passes(eu_where_##field, &eu_key);                                      \
		}                                                                                                   \
		eu_pass;                                                                                            \
	})

#endif
