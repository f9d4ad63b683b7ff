package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
)

// TestStreamsAreShared: one who has all places gives them up until others have as
// many, the latest first, and nobody takes one from somebody who has no more.
func TestStreamsAreShared(t *testing.T) {
	s := newStreams(4)
	reading := map[string]context.Context{}
	take := func(user string) bool {
		ctx, _, ok := s.take(t.Context(), user)
		if ok {
			reading[fmt.Sprint(user, len(s.byUser[user]))] = ctx
		}
		return ok
	}
	gave := func(place string) bool { return errors.Is(context.Cause(reading[place]), errGaveUp) }
	for range 4 {
		if !take("greedy") {
			t.Fatal("who is alone may not have all places")
		}
	}
	if take("greedy") {
		t.Error("a fifth place of four")
	}
	if !take("a") || !gave("greedy4") || gave("greedy3") {
		t.Error("another user does not get the latest place of who has all")
	}
	if !take("b") || !gave("greedy3") {
		t.Error("nor does a third user")
	}
	if take("a") || take("b") {
		t.Error("a place goes to and fro")
	}
	if !take("c") || !gave("greedy2") || gave("greedy1") || take("d") {
		t.Error("four users do not have one place each")
	}
}

func TestStreamsAreGivenBack(t *testing.T) {
	s := newStreams(1)
	ctx, release, ok := s.take(t.Context(), "a")
	if !ok {
		t.Fatal("refused")
	}
	release()
	release()
	if _, _, ok := s.take(t.Context(), "b"); !ok || s.taken != 1 || len(s.byUser) != 1 {
		t.Errorf("%d taken by %d users", s.taken, len(s.byUser))
	}
	if ctx.Err() == nil {
		t.Error("what was read there goes on")
	}
}

// TestReaders: the manager counts its users by their names, whatever they say of
// themselves. An agent counts as the manager says, without learning the names.
func TestReaders(t *testing.T) {
	alice, manager := &user.DefaultInfo{Name: "alice"}, &user.DefaultInfo{Name: "manager"}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	own := Themselves(req, alice)
	SetReader(req.Header, "bob")
	if got := Themselves(req, alice); got != own || got == "alice" {
		t.Errorf("alice is %q, as bob %q", own, got)
	}
	if got := OnBehalf(req, manager); got != "bob" {
		t.Errorf("the manager asks for bob, and it counts for %q", got)
	}
	SetReader(req.Header, "")
	req.Header.Del(readerHeader)
	if got := OnBehalf(req, manager); got != Themselves(req, manager) {
		t.Errorf("the manager asks for itself, and it counts for %q", got)
	}
}
