# Wrong on purpose: everything is open to everybody and nothing is encrypted.
provider "aws" {
  region = "eu-central-1"
}

resource "aws_s3_bucket" "tickets" {
  bucket = "shop-tickets"
}

resource "aws_s3_bucket_public_access_block" "tickets" {
  bucket                  = aws_s3_bucket.tickets.id
  block_public_acls       = false
  block_public_policy     = false
  ignore_public_acls      = false
  restrict_public_buckets = false
}

resource "aws_security_group" "shop" {
  name = "shop"

  ingress {
    from_port   = 0
    to_port     = 65535
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_db_instance" "orders" {
  identifier          = "orders"
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  username            = "shop"
  password            = "hunter2hunter2"
  publicly_accessible = true
  storage_encrypted   = false
  skip_final_snapshot = true
}
