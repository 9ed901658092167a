/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - intrusive doubly linked ring. Header only; owns nothing.
 *
 * A `struct list` is a head or a member. An initialised member that is on no
 * list points at itself, so list_del() may be called on it any number of times.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/attr.h"

struct list {
	struct list *next;
	struct list *prev;
};

#define LIST_INIT(name)                                                                            \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}

static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_add(struct list *head, struct list *item)
{
	item->next = head->next;
	item->prev = head;
	head->next->prev = item;
	head->next = item;
}

static inline void list_add_tail(struct list *head, struct list *item)
{
	list_add(head->prev, item);
}

static inline void list_del(struct list *item)
{
	item->next->prev = item->prev;
	item->prev->next = item->next;
	list_init(item);
}

#define list_item(ptr, type, member) container_of(ptr, type, member)

/* The first member of a list that is not empty. */
#define list_front(head, type, member) list_item((head)->next, type, member)

/* The first member, or NULL. */
#define list_first(head, type, member)                                                             \
	(list_empty(head) ? NULL : list_item((head)->next, type, member))

#define list_for_each(pos, head, member)                                                           \
	for (pos = list_item((head)->next, __typeof__(*pos), member); &pos->member != (head);      \
	     pos = list_item(pos->member.next, __typeof__(*pos), member))

/* The same, while @pos may be taken off the list or freed in the body. */
#define list_for_each_safe(pos, tmp, head, member)                                                 \
	for (pos = list_item((head)->next, __typeof__(*pos), member),                              \
	    tmp = list_item(pos->member.next, __typeof__(*pos), member);                           \
	     &pos->member != (head);                                                               \
	     pos = tmp, tmp = list_item(tmp->member.next, __typeof__(*pos), member))

#endif
