package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func TestFactsOf(t *testing.T) {
	n := &corev1.Node{
		Spec: corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{
			{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule},
			{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
			{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule},
			{Key: "soft", Effect: corev1.TaintEffectPreferNoSchedule},
		}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"),
		}},
	}
	facts := factsOf(n)
	if !facts.ready || !facts.cordoned || facts.allocatable != (resources{2000, 1 << 30}) {
		t.Errorf("without a kubelet: %+v", facts)
	}
	if len(facts.taints) != 1 || facts.taints[0].Key != corev1.TaintNodeDiskPressure {
		t.Errorf("taints %+v", facts.taints)
	}
	for status, want := range map[corev1.ConditionStatus]bool{
		corev1.ConditionTrue: true, corev1.ConditionFalse: false, corev1.ConditionUnknown: false,
	} {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		if got := factsOf(n).ready; got != want {
			t.Errorf("Ready %s: %t", status, got)
		}
	}
}

func TestTolerates(t *testing.T) {
	taint := corev1.Taint{Key: "dedicated", Value: "storm", Effect: corev1.TaintEffectNoExecute}
	tests := []struct {
		name string
		is   api.Toleration
		want bool
	}{
		{"key and value", api.Toleration{Key: "dedicated", Operator: api.TolerationEqual, Value: "storm"}, true},
		{"another value", api.Toleration{Key: "dedicated", Operator: api.TolerationEqual, Value: "hbase"}, false},
		{"any value", api.Toleration{Key: "dedicated", Operator: api.TolerationExists}, true},
		{"another key", api.Toleration{Key: "other", Operator: api.TolerationExists}, false},
		{"every taint", api.Toleration{Operator: api.TolerationExists}, true},
		{"its effect", api.Toleration{Operator: api.TolerationExists, Effect: "NoExecute"}, true},
		{"another effect", api.Toleration{Operator: api.TolerationExists, Effect: "NoSchedule"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tolerates([]api.Toleration{tt.is}, []corev1.Taint{taint}); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
	if tolerates([]api.Toleration{{Key: "dedicated", Operator: api.TolerationExists}}, []corev1.Taint{taint, {Key: "b", Effect: "NoSchedule"}}) {
		t.Error("one of two taints is enough to keep it away")
	}
	if !tolerates(nil, nil) {
		t.Error("no taints")
	}
}

// TestStripPod: the cache keeps all of a pod that its request is made of.
func TestStripPod(t *testing.T) {
	requests := func(cpu, memory string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}}
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{
		NodeName: "n1",
		InitContainers: []corev1.Container{
			{Name: "once", Resources: requests("3", "1Mi")},
			{Name: "sidecar", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), Resources: requests("100m", "10Mi")},
		},
		Containers: []corev1.Container{
			{Name: "a", Env: []corev1.EnvVar{{Name: "SECRET", Value: "x"}}, Resources: requests("1", "100Mi")},
			{Name: "b", Resources: requests("500m", "200Mi")},
		},
		Overhead: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")},
	}}
	bare, err := stripPod(p)
	if err != nil {
		t.Fatal(err)
	}
	stripped, ok := bare.(*corev1.Pod)
	if !ok || stripped.Spec.NodeName != "n1" || stripped.Spec.Containers[0].Env != nil {
		t.Fatalf("got %+v", bare)
	}
	// The first init container alone wants more CPU than all that run later.
	if want := (resources{3000, 311 << 20}); podRequest(stripped) != want || podRequest(p) != want {
		t.Errorf("%+v stripped, %+v whole, want %+v", podRequest(stripped), podRequest(p), want)
	}
}
