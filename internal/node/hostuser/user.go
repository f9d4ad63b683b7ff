// Package hostuser finds the users and groups of this host by the host's own
// name service (files, LDAP, sssd, …), and decides which users may run a worker.
package hostuser

import (
	"errors"
	"fmt"
	"slices"
)

// User is an account of this host.
type User struct {
	Name string
	UID  int
	// GID is the primary group.
	GID int
	// Groups are the supplementary groups, without the primary one, in the
	// order of the name service.
	Groups []int
}

// Why a user may not run a worker. The sentences around them say what to do.
var (
	// ErrRefused is a user that may not run workers here; it is in the chain
	// of all refusals, and trying again is of no use before somebody acts.
	ErrRefused = errors.New("user may not run workers on this node")
	// ErrUnknown is a user that the host does not know. It wraps ErrRefused.
	ErrUnknown = fmt.Errorf("%w: no such user", ErrRefused)
)

// ErrUnknownGroup is a group that the host does not know.
var ErrUnknownGroup = errors.New("no such group")

// Policy says who may run workers, and with which groups: worker-launcher.cfg's
// min.user.id, banned.users and banned.groups. Root never may, nor with root's group.
type Policy struct {
	MinUserID    int
	Banned       []string
	BannedGroups []string
}

// bannedGroup is why a group is none for workers, for messages.
const bannedGroup = "banned.groups of worker-launcher.cfg"

// withoutBanned returns u without those of its supplementary groups that are banned, by id
// and name, and the names of these. A worker needs none of them, so its user need not be
// refused for them. A primary group that is banned is a refusal: without it, the files of
// the worker would have another group than the user's.
func withoutBanned(u User, banned map[int]string) (_ User, dropped []string, err error) {
	if name, ok := banned[u.GID]; ok {
		return User{}, nil, fmt.Errorf("%w: the group of user %q is %s (gid %d), which is in %s; give the worker an ordinary user", ErrRefused, u.Name, name, u.GID, bannedGroup)
	}
	var kept []int
	for _, gid := range u.Groups {
		if name, ok := banned[gid]; ok {
			dropped = append(dropped, name)
		} else {
			kept = append(kept, gid)
		}
	}
	u.Groups = kept
	return u, dropped, nil
}

// Check returns nil if u may run workers, or an error that wraps ErrRefused.
func (p Policy) Check(u User) error {
	switch {
	case u.UID == 0 || u.Name == "root":
		return fmt.Errorf("%w: user %q (uid %d) is root; give the worker an ordinary user", ErrRefused, u.Name, u.UID)
	case slices.Contains(p.Banned, u.Name):
		return fmt.Errorf("%w: user %q is in banned.users of worker-launcher.cfg; use another user", ErrRefused, u.Name)
	case u.UID < p.MinUserID:
		return fmt.Errorf("%w: user %q has uid %d, below min.user.id %d of worker-launcher.cfg; use an ordinary user", ErrRefused, u.Name, u.UID, p.MinUserID)
	}
	return nil
}
