package config

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Members of a zone in supervisor.numa.meta, as in Storm.
const (
	numaCores   = "numa.cores"
	numaMemory  = "numa.memory.mb"
	numaPorts   = "numa.ports"
	numaGeneric = "numa.generic.resources.map"
)

// readNUMA reads supervisor.numa.meta: zone id -> members. No core and no port
// may be in two places.
func readNUMA(d *draft, key string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.want(key, n, "a map of zones by their ids")
		return
	}
	z := zones{draft: d, key: key, cores: map[int]string{}, ports: map[int]string{}}
	d.NUMA = map[int]NUMAZone{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, members := n.Content[i], target(n.Content[i+1])
		id, err := strconv.Atoi(name.Value)
		if err != nil || id < 0 {
			d.problem(key, name.Line, "zone %q: want the number of a NUMA node as its id", truncate(name.Value))
			continue
		}
		if _, ok := d.NUMA[id]; ok {
			d.problem(key, name.Line, "zone %d appears twice", id)
			continue
		}
		d.NUMA[id] = z.read(fmt.Sprintf("zone %d", id), name.Line, members)
	}
}

// zones reads zone after zone and remembers whose each core and port is.
type zones struct {
	*draft
	key          string
	cores, ports map[int]string
}

func (z zones) read(zone string, line int, n *yaml.Node) NUMAZone {
	if n.Kind != yaml.MappingNode {
		z.problem(z.key, line, "%s: want a map of %s, %s and %s", zone, numaCores, numaMemory, numaPorts)
		return NUMAZone{}
	}
	var out NUMAZone
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		member, v := n.Content[i].Value, target(n.Content[i+1])
		switch seen[member] = true; member {
		case numaCores:
			out.Cores = z.numbers(zone, member, v, 0, 1<<16, z.cores)
		case numaPorts:
			out.Ports = z.numbers(zone, member, v, 1, 65535, z.ports)
		case numaMemory:
			if mb, ok := whole[int](v); !ok || mb < 0 {
				z.problem(z.key, v.Line, "%s: %s: want a whole number of MiB", zone, member)
			}
		case numaGeneric:
		default:
			z.problem(z.key, n.Content[i].Line, "%s: unknown member %q: known are %s, %s, %s and %s",
				zone, truncate(member), numaCores, numaMemory, numaPorts, numaGeneric)
		}
	}
	for _, member := range []string{numaCores, numaMemory, numaPorts} {
		if !seen[member] {
			z.problem(z.key, line, "%s: %s is missing", zone, member)
		}
	}
	return out
}

// numbers reads a list of numbers from least to most, each of which owners
// may give to one zone only.
func (z zones) numbers(zone, member string, n *yaml.Node, least, most int, owners map[int]string) []int {
	if n.Kind != yaml.SequenceNode {
		z.problem(z.key, n.Line, "%s: %s: want a list of numbers, have %s", zone, member, kindOf(n))
		return nil
	}
	var all []int
	for _, e := range n.Content {
		e = target(e)
		v, ok := whole[int](e)
		if !ok || v < least || v > most {
			z.problem(z.key, e.Line, "%s: %s: want numbers from %d to %d, have %q", zone, member, least, most, truncate(e.Value))
			continue
		}
		if owner, taken := owners[v]; taken {
			z.problem(z.key, e.Line, "%s: %s: %d is already in %s", zone, member, v, owner)
			continue
		}
		owners[v] = zone
		all = append(all, v)
	}
	return all
}
