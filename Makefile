# stormcell: run "make help".
SHELL := /bin/bash -o pipefail
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# "go tool -n" builds a tool of hack/tools, cached, and prints its path.
TOOL = $$(go -C hack/tools tool -n $(1))

.PHONY: help
help: ## Show this list.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: generate
generate: ## Generate deep copies, CRDs and RBAC from the Go sources.
	$(call TOOL,controller-gen) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(call TOOL,controller-gen) crd paths=./api/... output:crd:dir=config/crd/bases
	$(call TOOL,controller-gen) rbac:roleName=stormcell-manager,fileName=manager_role.yaml paths=./controllers/... output:rbac:dir=config/rbac
	$(call TOOL,controller-gen) rbac:roleName=stormcell-node-agent,fileName=node_agent_role.yaml paths=./internal/nodeagent/... output:rbac:dir=config/rbac
