"""Unit tests of `fairway.objects.workloads`."""

from __future__ import annotations

from fairway.objects.codec import document, view
from fairway.objects.workloads import Deployment, ReplicaSet


def test_a_deployment_keeps_the_difference_between_no_replicas_and_none_said() -> None:
    assert view({"spec": {"replicas": 0}}, Deployment).spec.replicas == 0
    assert view({"spec": {}}, Deployment).spec.replicas is None
    assert document(view({"spec": {"replicas": 0}}, Deployment)) == {"spec": {"replicas": 0}}


def test_a_template_as_go_writes_it_is_kept_as_it_is() -> None:
    template = {"metadata": {"creationTimestamp": None, "labels": {"app": "web"}}, "spec": {"containers": None}}
    read = view({"spec": {"template": template, "strategy": {}, "selector": {}}}, Deployment)
    assert read.spec.template == template


def test_surge_is_a_number_or_a_share() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}
    update = view({"spec": {"strategy": strategy}}, Deployment).spec.strategy.rolling_update
    assert update is not None
    assert (update.max_surge, update.max_unavailable) == ("25%", 1)


def test_a_replica_set_reports_what_it_counted() -> None:
    status = view({"status": {"replicas": 3, "readyReplicas": 2, "observedGeneration": 7}}, ReplicaSet).status
    assert (status.replicas, status.ready_replicas, status.available_replicas, status.observed_generation) == (
        3,
        2,
        0,
        7,
    )
