// Package monitoring imports the types, so that go.mod pins their module.
package monitoring

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
