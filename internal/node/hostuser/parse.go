package hostuser

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxGroups is the kernel's own limit on supplementary groups (NGROUPS_MAX).
const maxGroups = 65536

var errMalformed = errors.New("malformed answer of the name service")

// parsePasswd reads the one line that "getent passwd NAME" prints:
// name:password:uid:gid:comment:home:shell.
func parsePasswd(out, name string) (User, error) {
	line, ok := strings.CutSuffix(out, "\n")
	fields := strings.Split(line, ":")
	if !ok || strings.Contains(line, "\n") || len(fields) != 7 {
		return User{}, fmt.Errorf("%w: not one passwd line", errMalformed)
	}
	// A directory that ignores case answers with its own spelling; files and
	// quotas go by that one, so the worker must name it too.
	if fields[0] != name {
		return User{}, fmt.Errorf("%w: asked for %q, the name service knows it as %q; use that name", ErrRefused, name, fields[0])
	}
	uid, err := parseID(fields[2])
	if err != nil {
		return User{}, fmt.Errorf("uid: %w", err)
	}
	gid, err := parseID(fields[3])
	if err != nil {
		return User{}, fmt.Errorf("gid: %w", err)
	}
	return User{Name: name, UID: uid, GID: gid}, nil
}

// parseGroup reads the one line that "getent group NAME" prints:
// name:password:gid:members.
func parseGroup(out, name string) (int, error) {
	known, gid, err := parseGroupLine(out)
	if err == nil && known != name {
		err = fmt.Errorf("%w: the name service knows it as %q; use that name", ErrUnknownGroup, known)
	}
	if err != nil {
		return 0, err
	}
	return gid, nil
}

// parseGroupLine reads one line of groups.
func parseGroupLine(out string) (name string, gid int, err error) {
	line, ok := strings.CutSuffix(out, "\n")
	fields := strings.Split(line, ":")
	if !ok || strings.Contains(line, "\n") || len(fields) != 4 {
		return "", 0, fmt.Errorf("%w: not one group line", errMalformed)
	}
	gid, err = parseID(fields[2])
	if err != nil {
		return "", 0, fmt.Errorf("gid: %w", err)
	}
	return fields[0], gid, nil
}

// parseGroups reads the one line that "getent initgroups NAME" prints: the
// name, then group ids, all apart by blanks.
func parseGroups(out, name string, primary int) ([]int, error) {
	line, ok := strings.CutSuffix(out, "\n")
	words := strings.Fields(line)
	if !ok || strings.Contains(line, "\n") || len(words) == 0 || words[0] != name {
		return nil, fmt.Errorf("%w: not one line of groups", errMalformed)
	}
	if len(words)-1 > maxGroups {
		return nil, fmt.Errorf("%w: more than %d groups", errMalformed, maxGroups)
	}
	var groups []int
	for _, w := range words[1:] {
		gid, err := parseID(w)
		if err != nil {
			return nil, fmt.Errorf("group: %w", err)
		}
		if gid != primary {
			groups = append(groups, gid)
		}
	}
	return dedupe(groups), nil
}

func dedupe(groups []int) []int {
	seen := make(map[int]bool, len(groups))
	return slices.DeleteFunc(groups, func(g int) bool {
		again := seen[g]
		seen[g] = true
		return again
	})
}

// parseID reads a user or group id. The highest, (uid_t)-1, means "leave as it
// is" to chown and setuid, so it is none.
func parseID(s string) (int, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == math.MaxUint32 {
		return 0, fmt.Errorf("%w: %q is not an id", errMalformed, s)
	}
	return int(id), nil
}
