# mypy: ignore-errors
"""A small REST API over HTTPS: patients in memory, each with a score."""

import random

from flask import Flask, Response, request
from flask_restful import Api, Resource

FIELDS = (
    "fname", "lname", "address", "city", "state", "ssn", "email", "dob", "contactphone", "drugallergies",
    "preexistingconditions", "dateadmitted", "insurancedetails",
)  # fmt: skip
app = Flask(__name__)
api = Api(app)
patients: dict[str, dict[str, object]] = {}


def refused(status: int) -> Response:
    return Response("error", status=status, content_type="application/json")


class Patient(Resource):
    def get(self, patient_id: str) -> object:
        return patients.get(patient_id) or refused(404)

    def post(self, patient_id: str) -> object:
        if patient_id in patients:
            return refused(403)
        given = {field: request.form[field] for field in FIELDS}
        patients[patient_id] = {**given, "id": patient_id, "score": random.random()}
        return dict(sorted(patients[patient_id].items()))


class Score(Resource):
    def get(self, patient_id: str) -> object:
        found = patients.get(patient_id)
        return {"id": patient_id, "score": found["score"]} if found else refused(404)


api.add_resource(Patient, "/patient/<string:patient_id>")
api.add_resource(Score, "/score/<string:patient_id>")

if __name__ == "__main__":
    app.run(host="0.0.0.0", port=4996, threaded=True, ssl_context=("/tls/flask.crt", "/tls/flask.key"))
