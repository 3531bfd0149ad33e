(ns httpkit.ws-wire
  "A WebSocket client that tidies nothing: frames as data, written as told.

  A frame is [op payload opts].
    op       :cont :text :binary :ping :pong, or a number for any other;
             [:close], [:close code], [:close code payload] for a closing
    payload  a string (its UTF-8), {:hex \"cafe\"} or {:of \"x\"}, these two
             with :times n
    opts     :fin false      more fragments follow
             :fragments n    the message in fragments of n bytes
             :rsv 0-7        reserved bits, 4 = RSV1
             :mask hex|nil   another mask, or none
             :length hex     these bytes for the length
             :sent n         only the first n bytes of payload are written

  What comes back is read as [op payload], [:close], [:close code payload],
  :closed for the end of the connection or :timeout; a payload of more than
  128 bytes is [size crc32]."
  (:require [clojure.string :as str]
            [httpkit.scheme :as scheme])
  (:import (java.io BufferedInputStream ByteArrayOutputStream DataInputStream EOFException
                    IOException InputStream OutputStream)
           (java.net InetSocketAddress Socket SocketTimeoutException)
           (java.nio ByteBuffer)
           (java.util Arrays)
           (java.util.zip CRC32)))

(set! *warn-on-reflection* true)

(def ^:private opcodes {:cont 0 :text 1 :binary 2 :close 8 :ping 9 :pong 10})
(def ^:private names (into {} (map (fn [[k v]] [v k])) opcodes))

(defn- hex->bytes ^bytes [^String s]
  (byte-array (map #(unchecked-byte (Integer/parseInt (apply str %) 16)) (partition 2 s))))

(defn- repeated ^bytes [^bytes unit n]
  (let [out (byte-array (* n (alength unit)))]
    (dotimes [i n]
      (System/arraycopy unit 0 out (* i (alength unit)) (alength unit)))
    out))

(defn payload
  "The bytes of a payload as the namespace describes it."
  ^bytes [p]
  (if (string? p)
    (.getBytes ^String p "UTF-8")
    (let [{:keys [hex of times] :or {times 1}} p]
      (repeated (if hex (hex->bytes hex) (.getBytes ^String of "UTF-8")) times))))

(defn- close-payload ^bytes [code reason]
  (let [reason (payload (or reason ""))]
    (.array (doto (ByteBuffer/allocate (+ 2 (alength reason)))
              (.putShort (unchecked-short code))
              (.put reason)))))

(defn- length-bytes [n]
  (cond (< n 126)   [n]
        (< n 65536) (cons 126 (.array (doto (ByteBuffer/allocate 2) (.putShort (unchecked-short n)))))
        :else       (cons 127 (.array (doto (ByteBuffer/allocate 8) (.putLong n))))))

(defn- masked ^bytes [^bytes bytes ^bytes mask]
  (let [n (alength bytes) out (byte-array n)]
    (loop [i 0]
      (when (< i n)
        (aset out i (unchecked-byte (bit-xor (aget bytes i) (aget mask (bit-and i 3)))))
        (recur (unchecked-inc i))))
    out))

(defn encode
  "The bytes of one frame with opcode number `op`."
  ^bytes [op ^bytes payload {:keys [fin rsv mask length sent] :or {fin true rsv 0 mask "37fa213d"}}]
  (let [out    (ByteArrayOutputStream.)
        length (if length (seq (hex->bytes length)) (length-bytes (alength payload)))
        sent   (or sent (alength payload))]
    (.write out (int (bit-or (if fin 0x80 0) (bit-shift-left rsv 4) op)))
    (.write out (int (bit-or (if mask 0x80 0) (bit-and 0xff (first length)))))
    (.write out (byte-array (map unchecked-byte (rest length))))
    (when mask (.write out (hex->bytes mask)))
    (.write out (if mask (masked payload (hex->bytes mask)) payload) 0 (int sent))
    (.toByteArray out)))

(defn- fragments [op ^bytes payload size]
  (let [starts (range 0 (alength payload) size)]
    (map-indexed (fn [i start]
                   (let [end (min (alength payload) (+ start size))]
                     (encode (if (zero? i) op 0)
                             (Arrays/copyOfRange payload (int start) (int end))
                             {:fin (= end (alength payload))})))
                 starts)))

(defn frame-bytes
  "The frames, each as bytes, that `[op payload opts]` stands for."
  [[op p opts]]
  (cond (= :close op)     [(encode 8 (if p (close-payload p opts) (byte-array 0)) nil)]
        (:fragments opts) (fragments (opcodes op) (payload p) (:fragments opts))
        :else             [(encode (opcodes op op) (payload p) opts)]))

(defn- joined ^bytes [arrays]
  (let [out (ByteArrayOutputStream.)]
    (doseq [^bytes a arrays] (.write out a))
    (.toByteArray out)))

(defn- pieces [^bytes bytes size]
  (map (fn [start] (Arrays/copyOfRange bytes (int start) (int (min (alength bytes) (+ start size)))))
       (range 0 (alength bytes) size)))

(defn send!
  "Writes frames: in one write, in pieces of `chop` bytes, or with `:frame` one
  by one. Stops in silence when the peer has closed: what it said tells why."
  [{:keys [^OutputStream out]} frames chop]
  (let [arrays (mapcat frame-bytes frames)]
    (try
      (doseq [^bytes piece (cond (= :frame chop) arrays
                                 chop            (pieces (joined arrays) chop)
                                 :else           [(joined arrays)])]
        (.write out piece))
      (catch IOException _ nil))))

(defn summary
  "A payload for comparing and printing: a string of Latin-1, or [size crc32]."
  [^bytes bytes]
  (if (<= (alength bytes) 128)
    (String. bytes "ISO-8859-1")
    [(alength bytes) (.getValue (doto (CRC32.) (.update bytes)))]))

(defn- reaction [op ^bytes bytes]
  (cond (not= 8 op)              [(names op op) (summary bytes)]
        (zero? (alength bytes))  [:close]
        (= 1 (alength bytes))    [8 (summary bytes)]
        :else [:close (bit-and 0xffff (.getShort (ByteBuffer/wrap bytes)))
               (summary (Arrays/copyOfRange bytes 2 (alength bytes)))]))

(defn expected
  "The frame `[op payload]` as `receive!` returns it."
  [[op p reason]]
  (if (= :close op)
    (reaction 8 (if p (close-payload p reason) (byte-array 0)))
    (reaction (opcodes op) (payload p))))

(defn- read-length [^DataInputStream in n]
  (case (int n)
    126 (.readUnsignedShort in)
    127 (.readLong in)
    n))

(defn- read-frame [^DataInputStream in]
  (let [first-byte  (.readUnsignedByte in)
        second-byte (.readUnsignedByte in)
        op          (bit-and 0x0f first-byte)
        length      (read-length in second-byte)]
    (if (and (= 0x80 (bit-and 0xf0 first-byte)) (< second-byte 128))
      (reaction op (doto (byte-array length) (->> (.readFully in))))
      [:not-a-server-frame first-byte second-byte])))

(defn receive!
  "The next frame, `:closed` at the end of the connection, `:timeout` when
  nothing came for as long as `connect` said."
  [{:keys [in]}]
  (try (read-frame in)
       (catch SocketTimeoutException _ :timeout)
       (catch EOFException _ :closed)
       ;; A reset: the server has closed while bytes of ours were under way.
       (catch IOException _ :closed)))

(defn- read-head [^InputStream in]
  (loop [head (StringBuilder.)]
    (let [b (.read in)]
      (cond (neg? b) (str head)
            (str/ends-with? (.append head (char b)) "\r\n\r\n") (str head)
            :else (recur head)))))

(def handshake
  "A handshake with the key of RFC 6455 1.3."
  (str "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"))

(defn connect
  "An open WebSocket to the port on 127.0.0.1, to be closed with `disconnect`.
  Reads wait `timeout` msecs for a byte. Throws when the answer is not 101."
  ([port timeout] (connect port timeout "/"))
  ([port timeout path]
  (let [socket (scheme/secure (doto (Socket.)
                                (.connect (InetSocketAddress. "127.0.0.1" (int port)) (int timeout))
                                (.setTcpNoDelay true)
                                (.setSoTimeout (int timeout))))
        in     (DataInputStream. (BufferedInputStream. (.getInputStream socket) 65536))
        out    (.getOutputStream socket)]
    (.write out (.getBytes (str/replace-first handshake "/" path) "US-ASCII"))
    (let [head (read-head in)]
      (when-not (str/starts-with? head "HTTP/1.1 101 ")
        (.close socket)
        (throw (ex-info "not upgraded" {:type ::refused :answer head}))))
    {:socket socket :in in :out out})))

(defn disconnect [{:keys [^Socket socket]}]
  (.close socket))
