package controllers

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// prefetchSelector returns the selector of the nodes that prefetch an image. It selects
// no node without spec.prefetch, and none with an error if it is invalid.
func prefetchSelector(i *api.StormImage) (labels.Selector, error) {
	if i.Spec.Prefetch == nil {
		return labels.Nothing(), nil
	}
	if i.Spec.Prefetch.NodeSelector == nil {
		return labels.Everything(), nil
	}
	s, err := metav1.LabelSelectorAsSelector(i.Spec.Prefetch.NodeSelector)
	if err != nil {
		return labels.Nothing(), fmt.Errorf("spec.prefetch.nodeSelector: %w", err)
	}
	return s, nil
}

// chooses reports whether a node with these labels is to prefetch an image.
func chooses(i *api.StormImage, node labels.Set) bool {
	s, err := prefetchSelector(i)
	return err == nil && s.Matches(node)
}

// wantedImages returns the images that a node with these labels is to prefetch, by tag:
// those that select it and that workers can be pinned to, also while the store is away.
// Of two objects of one tag, the one that was resolved last counts.
func wantedImages(node labels.Set, images []api.StormImage) []api.StormNodeImage {
	byTag := map[string]*api.StormImage{}
	for n := range images {
		i := &images[n]
		if !usable(*i) || !i.DeletionTimestamp.IsZero() || !chooses(i, node) {
			continue
		}
		if other, ok := byTag[i.Spec.Tag]; !ok || resolvedBefore(other, i) {
			byTag[i.Spec.Tag] = i
		}
	}
	var wanted []api.StormNodeImage
	for tag, i := range byTag {
		wanted = append(wanted, api.StormNodeImage{Tag: tag, ManifestDigest: i.Status.ManifestDigest})
	}
	slices.SortFunc(wanted, func(a, b api.StormNodeImage) int { return cmp.Compare(a.Tag, b.Tag) })
	return wanted[:min(len(wanted), api.MaxStormNodeImages)]
}

func resolvedBefore(a, b *api.StormImage) bool {
	if a.Status.ResolvedAt.Equal(b.Status.ResolvedAt) {
		return a.Name > b.Name
	}
	return a.Status.ResolvedAt.Before(b.Status.ResolvedAt)
}
