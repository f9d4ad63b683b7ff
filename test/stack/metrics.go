package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

func (s *Stack) managerMetrics() string { return s.loopback + ":9180" }
func (s *Stack) agentMetrics() string   { return s.loopback + ":9181" }

// ManagerMetrics returns what the manager tells Prometheus.
func (s *Stack) ManagerMetrics(ctx context.Context) (string, error) {
	return scrape(ctx, s.managerMetrics())
}

// AgentMetrics returns what the node-agent tells Prometheus.
func (s *Stack) AgentMetrics(ctx context.Context) (string, error) {
	return scrape(ctx, s.agentMetrics())
}

func scrape(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("scrape: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("scrape %s: %s: %s (%w)", address, resp.Status, text, err)
	}
	return string(text), nil
}

// AgentMetricsAddress is where the node-agent serves metrics.
func (s *Stack) AgentMetricsAddress() string { return s.agentMetrics() }
