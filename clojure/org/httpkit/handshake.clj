(ns ^:no-doc org.httpkit.handshake
  "The server's side of a WebSocket handshake (RFC 6455 4.2). Not API: use the functions of
  `org.httpkit.server`."
  (:require
   [clojure.string :as str]
   [org.httpkit.encode :refer [base64-encode]]
   [org.httpkit.headers :as headers])
  (:import
   [java.nio.charset StandardCharsets]
   [java.security MessageDigest]
   [java.util Base64]
   [org.httpkit.server RequestBodyStream]))

(set! *warn-on-reflection* true)

(defn accept
  "The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key."
  [sec-websocket-key]
  (let [text (str sec-websocket-key "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        sha1 (.digest (MessageDigest/getInstance "SHA-1")
               (.getBytes text StandardCharsets/US_ASCII))]
    (base64-encode sha1)))

(defn- token? [^String header token]
  (and header
    (boolean (some #(.equalsIgnoreCase ^String token (str/trim %)) (str/split header #",")))))

(defn- nonce?
  "Is `k` the canonical Base64 form of 16 bytes?"
  [^String k]
  (and k
    (try
      (let [bytes (.decode (Base64/getDecoder) k)]
        (and (= 16 (alength bytes)) (= k (base64-encode bytes))))
      (catch IllegalArgumentException _ false))))

(defn- streamed-body?
  "Do the bytes after the head belong to a body that the server has not taken?"
  [ring-req]
  (instance? RequestBodyStream (:body ring-req)))

(defn check
  "The value for Sec-WebSocket-Accept if the Ring request is a valid handshake, otherwise nil."
  [ring-req]
  (let [{:strs [upgrade connection sec-websocket-version sec-websocket-key]} (:headers ring-req)]
    (when (and (= :get (:request-method ring-req))
               (= "HTTP/1.1" (:protocol ring-req))
               (token? upgrade "websocket")
               (token? connection "upgrade")
               (= "13" sec-websocket-version)
               (nonce? sec-websocket-key)
               (not (streamed-body? ring-req)))
      (accept sec-websocket-key))))

(defn agreed
  "The first of `subprotocols` that the client offers (RFC 6455 4.2.2); or nil."
  [ring-req subprotocols]
  (let [offer (get-in ring-req [:headers "sec-websocket-protocol"] "")
        offer (into #{} (map str/trim) (str/split offer #","))]
    (first (filter offer subprotocols))))

(defn headers
  "Headers of the 101: the result of `check`, the agreed subprotocol, and `more`,
  which replace none of them."
  ([accept] (headers accept nil nil))
  ([accept subprotocol more]
   (let [own (cond-> {"Upgrade"              "websocket"
                      "Connection"           "Upgrade"
                      "Sec-WebSocket-Accept" accept}
               subprotocol (assoc "Sec-WebSocket-Protocol" subprotocol))]
     (if (seq more)
       (reduce-kv headers/with more own)
       own))))

(defn rejection
  "The response to a handshake that is none, with `text` as its body, and with the supported version if
  the client's is another one (RFC 6455 4.4)."
  [ring-req text]
  (let [version (get-in ring-req [:headers "sec-websocket-version"])]
    {:status  400
     :headers (cond-> {"Content-Type" "text/plain"}
                (not (contains? #{nil "13"} version)) (assoc "Sec-WebSocket-Version" "13"))
     :body    (if (streamed-body? ring-req) "The body of a WebSocket handshake is too long" text)}))
