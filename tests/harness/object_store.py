"""A server that speaks S3, holds requests against their signatures, and fails when it is told to.

`ObjectStore` starts it in a process of its own, in which `moto` plays the server: the virtual environment that
scripts/install-test-deps makes has it. What a test asks of it goes over that process's standard streams, line by line.
"""

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / "tests" / ".cache" / "venv" / "bin" / "python"
REGION = "eu-central-1"
BUCKET = "backups"


class ObjectStore:
    """A server with one bucket and one account that may use it. Objects outlive `pause` and `resume`."""

    def __init__(self):
        if not PYTHON.exists():
            raise RuntimeError("no S3 server: run scripts/install-test-deps")
        self._process = subprocess.Popen([str(PYTHON), __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = self._told()
        self.endpoint, self.key_id, self.secret = started["endpoint"], started["key_id"], started["secret"]

    def _told(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the S3 server has ended")
        return json.loads(line)

    def _ask(self, what, *arguments):
        self._process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._told()

    def config(self, **more):
        """What a configuration of automated snapshots says of it."""
        return {"storage_type": "aws-s3", "aws_s3_bucket": BUCKET, "aws_s3_region": REGION,
                "aws_s3_endpoint": self.endpoint, "aws_s3_disable_tls": True, "aws_s3_force_path_style": True,
                "aws_access_key_id": self.key_id, "aws_secret_access_key": self.secret, **more}

    def names(self):
        return self._ask("names")

    def get(self, name):
        return base64.b64decode(self._ask("get", name))

    def put(self, name, content):
        return self._ask("put", name, base64.b64encode(content).decode())

    def encryption(self, name):
        return self._ask("encryption", name)

    def unfinished(self):
        """The names of uploads that were begun and neither completed nor aborted."""
        return self._ask("unfinished")

    def fail(self, status, count, method="", query=""):
        """Answers the next `count` requests of this method, whose query contains this, with a status."""
        return self._ask("fail", status, count, method, query)

    def failures_left(self):
        return self._ask("failures_left")

    def pause(self):
        return self._ask("pause")

    def resume(self):
        return self._ask("resume")

    def stop(self):
        """Ends it, and everything in it."""
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Failing:
    """Stands before the server and answers in its place, as often as it is told."""

    def __init__(self, application):
        self.application, self.status, self.count, self.method, self.query = application, 503, 0, "", ""
        self.request = threading.local()
        self.check_what_was_sent()

    def check_what_was_sent(self):
        """Has signatures checked over the query as it was sent: moto would take it decoded, which nobody signs."""
        from moto.iam.access_control import IAMRequestBase
        decoded = IAMRequestBase._create_aws_request

        def as_sent(checked):
            request = decoded(checked)
            request.url = self.request.url
            return request
        IAMRequestBase._create_aws_request = as_sent

    def __call__(self, environ, start_response):
        self.request.url = f"http://{environ['HTTP_HOST']}{environ['RAW_URI']}"
        fits = self.method in ("", environ["REQUEST_METHOD"]) and self.query in environ.get("QUERY_STRING", "")
        if self.count and fits:
            self.count -= 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(f"{self.status} Failing", [("Content-Type", "application/xml")])
            code = "SlowDown" if self.status >= 500 else "AccessDenied"
            return [f"<Error><Code>{code}</Code><Message>Told to fail.</Message></Error>".encode()]
        return self.application(environ, start_response)


class Served:
    """The server, in its own process."""

    def __init__(self):
        import boto3
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        self.failing = Failing(DomainDispatcherApplication(create_backend_app))
        self.port = 0
        self.resume()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.boto3 = boto3

    def client(self, service, key_id="nobody", secret="nobody"):
        return self.boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=key_id,
                                 aws_secret_access_key=secret)

    def begin(self):
        """Makes the bucket and the account; from then on requests must be signed, and allowed."""
        from moto import settings
        iam = self.client("iam")
        iam.create_user(UserName="strongroom")
        key = iam.create_access_key(UserName="strongroom")["AccessKey"]
        actions = ["s3:ListBucket", "s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
                   "s3:ListBucketMultipartUploads", "s3:HeadObject"]
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        iam.put_user_policy(UserName="strongroom", PolicyName="backups",
                            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
        self.s3 = self.client("s3", key["AccessKeyId"], key["SecretAccessKey"])
        return {"endpoint": self.endpoint, "key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}

    def names(self):
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def get(self, name):
        return base64.b64encode(self.s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()).decode()

    def put(self, name, content):
        self.s3.put_object(Bucket=BUCKET, Key=name, Body=base64.b64decode(content))

    def encryption(self, name):
        head = self.s3.head_object(Bucket=BUCKET, Key=name)
        return [head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")]

    def unfinished(self):
        return [found["Key"] for found in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]

    def fail(self, status, count, method, query):
        failing = self.failing
        failing.status, failing.method, failing.query, failing.count = status, method, query, count

    def failures_left(self):
        return self.failing.count

    def pause(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def resume(self):
        from werkzeug.serving import make_server
        self.server = make_server("127.0.0.1", self.port, self.failing, threaded=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


def main():
    import logging
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    told, sys.stdout = sys.stdout, sys.stderr

    def tell(what):
        told.write(json.dumps(what) + "\n")
        told.flush()

    served = Served()
    tell(served.begin())
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        tell(getattr(served, what)(*arguments))


if __name__ == "__main__":
    main()
