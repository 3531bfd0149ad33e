(ns org.httpkit.encode
  "Base64 (RFC 4648 4)."
  (:import [java.util Base64]))

(defmacro base64-encode
  "The byte array `bytes` as a String: standard alphabet, padded, one line.

    (base64-encode (.getBytes \"user:password\")) ; => \"dXNlcjpwYXNzd29yZA==\""
  [bytes]
  (let [array (with-meta (gensym "bytes") {:tag 'bytes})]
    `(let [~array ~bytes]
       (.encodeToString (Base64/getEncoder) ~array))))
