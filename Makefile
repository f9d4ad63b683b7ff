# stormcell: run "make help".
SHELL := /bin/bash -o pipefail
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Where Go and the system's programs are, also for a root whose PATH is short.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Where tests find the programs of Kubernetes.
ASSETS   := $(CURDIR)/bin/k8s
# The directory of the cluster of "make cluster-up".
CLUSTER  := /var/lib/stormcell-cluster
MODULES  := . hack/tools hack/kubernetes hack/host-programs hack/helm
# Seconds that each fuzz target runs in "make fuzz".
FUZZTIME := 30

# "go tool -n" builds a tool of hack/tools, cached, and prints its path.
TOOL = $$(go -C hack/tools tool -n $(1))

.PHONY: help
help: ## Show this list.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: ## Run a StormWorker from squashfs layers, or with RUNTIME=docker in Docker, end to end, on this machine.
	@hack/demo.sh run

.PHONY: demo-down
demo-down: ## Take down a demo that DEMO_KEEP=1 left up.
	@hack/demo.sh down

.PHONY: build
build: ## Build every program into bin/.
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: krew
krew: ## Build kubectl-storm for all platforms, and its manifest for krew, into bin/krew.
	@hack/krew/build.sh

.PHONY: packages
packages: ## Install the Debian packages that tests and the demo need.
	@hack/packages.sh

.PHONY: k8s
k8s: ## Build Kubernetes and etcd into bin/k8s, once.
	@hack/kubernetes/build.sh

.PHONY: cluster-up
cluster-up: k8s ## Start a Kubernetes with this machine as its node.
	@hack/packages.sh cluster
	@hack/cluster.sh up $(CLUSTER) node
	@hack/cluster.sh status $(CLUSTER)

.PHONY: cluster-down
cluster-down: ## Stop it, and remove all of it.
	@hack/cluster.sh down $(CLUSTER)

$(ASSETS)/kubectl:
	@hack/kubernetes/build.sh

.PHONY: images
images: ## Build the images of both daemons into bin/images.
	@hack/packages.sh images
	@hack/images/build.sh

.PHONY: hadoop
hadoop: packages ## Fetch Apache Hadoop into bin/hadoop, once.
	@hack/hdfs/build.sh

.PHONY: test
test: packages k8s hadoop ## Run every test, as root, with the race detector.
	@test $$(id -u) = 0 || { echo 'run "make test" as root: tests mount file systems and run containers' >&2; exit 1; }
	KUBEBUILDER_ASSETS=$(ASSETS) go test -race -count 1 -timeout 20m ./...

.PHONY: test-hdfs
test-hdfs: hadoop k8s ## Run the tests that use a real HDFS.
	go test -race -count 1 -timeout 20m $$(hack/hdfs/importers.sh)

.PHONY: test-docker
test-docker: packages k8s ## Run the tests that use a real dockerd and a registry.
	KUBEBUILDER_ASSETS=$(ASSETS) go test -race -count 1 -timeout 10m ./internal/node/runtime/docker/... ./test/docker

.PHONY: test-faults
test-faults: packages k8s ## Kill, starve and rob the node-agent; count what leaks (10 minutes at most).
	KUBEBUILDER_ASSETS=$(ASSETS) go test -tags faults -v -count 1 -timeout 10m ./test/faults

.PHONY: e2e
e2e: packages k8s images ## Run the suite on a real kubelet: a cluster that is started, and taken down.
	@hack/packages.sh cluster
	@CLUSTER=$(CLUSTER) hack/e2e.sh run

.PHONY: e2e-kind
e2e-kind: ## Run the suite on a kind cluster of three nodes; needs Docker and kind's node image.
	@hack/kind.sh check
	@$(MAKE) --no-print-directory packages k8s images
	@hack/e2e.sh run kind

.PHONY: test-vm
test-vm: ## Run the node's tests in a VM with cgroup v2 and an older kernel.
	@hack/packages.sh vm
	@hack/vm.sh

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME seconds.
	@hack/fuzz.sh run $(FUZZTIME)

.PHONY: bench
bench: packages k8s hadoop ## Measure against the original's ways; needs root and a few minutes.
	KUBEBUILDER_ASSETS=$(ASSETS) go run ./test/bench

.PHONY: generate
generate: $(ASSETS)/kubectl ## Generate deep copies, CRDs, RBAC, the typed client, manifests, docs/api.md and the table of system calls.
	$(call TOOL,controller-gen) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(call TOOL,controller-gen) crd paths=./api/v1alpha1 output:crd:dir=config/crd/bases
	$(call TOOL,controller-gen) rbac:roleName=stormcell-manager,fileName=manager_role.yaml paths=./controllers/... paths=./internal/connect/gateway/... output:rbac:dir=config/rbac
	$(call TOOL,controller-gen) rbac:roleName=stormcell-node-agent,fileName=node_agent_role.yaml paths=./internal/node/agent/... paths=./internal/connect/node/... output:rbac:dir=config/rbac
	$(call TOOL,crd-ref-docs) --log-level=ERROR --source-path=api --config=hack/api-docs/config.yaml --templates-dir=hack/api-docs --renderer=markdown --output-path=docs/api.md
	hack/generate-client.sh
	hack/manifests.sh $(ASSETS)/kubectl
	hack/syscalls.sh > internal/node/seccomp/syscalls.txt

.PHONY: fmt
fmt: ## Format the Go sources.
	$(call TOOL,golangci-lint) fmt

.PHONY: lint
lint: ## Run the linters.
	$(call TOOL,golangci-lint) run --timeout 20m
	$(call TOOL,golangci-lint-kube-api-linter) run --config .golangci-kal.yml ./api/...

.PHONY: verify
verify: packages $(ASSETS)/kubectl ## Check generated files, formatting, modules and scripts.
	@ASSETS=$(ASSETS) hack/verify-generated.sh
	$(call TOOL,golangci-lint) fmt --diff
	@for module in $(MODULES); do echo "go -C $$module mod tidy -diff"; go -C $$module mod tidy -diff || exit 1; done
	@# The plugin runs on people's machines.
	@for system in darwin windows; do echo "GOOS=$$system go build ./cmd/kubectl-storm"; GOOS=$$system go build -o /dev/null ./cmd/kubectl-storm || exit 1; done
	@# Scripts that git knows or would take in, so that none is forgotten.
	git ls-files -co --exclude-standard '*.sh' .ci/run | xargs shellcheck

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin .cache
