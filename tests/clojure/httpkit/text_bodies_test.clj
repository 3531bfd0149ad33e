(ns httpkit.text-bodies-test
  "Strings as bodies: their bytes, at the sizes where they take another way to the socket."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.nio ByteBuffer)
           (java.util Arrays)))

(set! *warn-on-reflection* true)

(def ^:private units
  "Texts, and their bytes on the wire as characters."
  {"~"            "~"
   "\u00e9"       "\u00c3\u00a9"
   "\u20ac"       "\u00e2\u0082\u00ac"
   "\u0141"       "\u00c5\u0081"                            ; its low byte is an A
   "\ud83d\ude00" "\u00f0\u009f\u0098\u0080"
   "\ud83d"       "?"
   "\ude00x"      "?x"})

(def ^:private sizes
  (mapcat #(range (- % 2) (+ % 3)) [3 128 256 1024 (* 16 1024) (* 32 1024) (* 64 1024)]))

(defn- spread
  "`repeated` times a unit, each behind some of `padding` times an a."
  [^String unit repeated padding]
  (let [each (quot padding (max 1 repeated))]
    (str (.repeat "a" (int (- padding (* repeated each))))
         (.repeat (str (.repeat "a" (int each)) unit) (int repeated)))))

(def ^:private bodies
  "Pairs of a text and its bytes: with one unit, with some, and with as many as there is room for."
  (vec (for [[unit wire] units
             size        sizes
             :let [most (quot size (count wire))]
             repeated    (distinct [(min 1 most) (quot most 20) most])
             :let [padding (- size (* repeated (count wire)))]]
         [(spread unit repeated padding) (wire/latin1 (spread wire repeated padding))])))

(defn- body-of [{:keys [uri]}]
  (bodies (Long/parseLong (subs uri 1))))

(def ^:private text-of (comp first body-of))

(defn- sent [request send]
  (server/as-channel request {:on-open #(send % (text-of request))}))

(def ^:private ways
  {"returned"        (fn [request] {:status 200 :body (text-of request)})
   "sent whole"      (fn [request] (sent request #(server/send! %1 {:status 200 :body %2} true)))
   "sent as a chunk" (fn [request] (sent request (fn [ch text] (server/send! ch text false) (server/close ch))))})

(defn- content
  "The bytes of the next answer's body."
  ^bytes [conn]
  (let [body (:body (wire/answer conn :raw? true))]
    (if (string? body) (wire/latin1 body) body)))

(defn- wrong
  "Those of `numbers` whose answer, the next on the connection, has other bytes than it should."
  [conn numbers]
  (vec (remove #(Arrays/equals (content conn) ^bytes (second (bodies %))) numbers)))

(defn- get-requests [numbers]
  (str/join (map #(wire/get-request (str "/" %)) numbers)))

(deftest texts-of-any-characters-and-size-are-sent-as-utf-8
  (doseq [[way handler] ways
          together [1 4]]                                   ; Requests that are pipelined.
    (testing (str way ", " together " at once")
      (wire/with-server [{:keys [port errors]} handler {}]
        (with-open [conn (wire/connect port)]
          (doseq [numbers (partition-all together (range (count bodies)))]
            (wire/send! conn (get-requests numbers))
            (is (= [] (map #(map count (bodies %)) (wrong conn numbers))))))
        (is (= [] @errors))))))

(deftest heads-of-any-length-precede-a-text
  (doseq [server-header [nil "http-kit" (apply str (repeat 1000 \s))]
          field         [0 1000 10000]]
    (wire/with-server [{:keys [port]}
                       (fn [request] {:status 200 :headers {"X" (apply str (repeat field \x))} :body (text-of request)})
                       {:server-header server-header}]
      (with-open [conn (wire/connect port)]
        (doseq [[n [_ ^bytes wire]] (map-indexed vector bodies)
                :when (#{128 129 1023 1024 16384 16385} (alength wire))]
          (wire/send! conn (get-requests [n]))
          (let [{:keys [headers ^bytes body]} (wire/answer conn :raw? true)]
            (is (= [server-header field] [(headers "server") (count (headers "x"))]))
            (is (Arrays/equals wire body))))))))

(deftest a-response-to-head-has-the-length-of-its-text-and-none-of-it
  (wire/with-server [{:keys [port]} (ways "returned") {}]
    (with-open [conn (wire/connect port)]
      (doseq [[n [_ ^bytes wire]] (map-indexed vector bodies)]
        (wire/send! conn (str "HEAD /" n " HTTP/1.1\r\nHost: h\r\n\r\n"))
        (is (= (str (alength wire)) (get-in (wire/answer conn :head? true) [:headers "content-length"])))))))

(deftest a-part-of-an-array-is-sent-like-a-text-of-its-size
  (doseq [[kind wrap] {"all"    identity
                       "a part" #(.position (ByteBuffer/wrap (byte-array (concat [1 2 3] %))) 3)
                       "direct" #(.flip (.put (ByteBuffer/allocateDirect (count %)) ^bytes %))}]
    (testing kind
      (wire/with-server [{:keys [port]} (fn [request] {:status 200 :body (wrap (second (body-of request)))}) {}]
        (with-open [conn (wire/connect port)]
          (doseq [n (range (count bodies))]
            (wire/send! conn (get-requests [n]))
            (is (= [] (wrong conn [n])))))))))
