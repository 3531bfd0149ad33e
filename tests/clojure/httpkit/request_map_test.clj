(ns httpkit.request-map-test
  "The request map: its keys and their classes, and that it cannot be told from an ordinary persistent map."
  (:require [clojure.edn        :as edn]
            [clojure.set        :as set]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [clojure.walk       :as walk]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (clojure.lang APersistentMap IPersistentMap Keyword MapEntry PersistentArrayMap)
           (java.io ByteArrayInputStream ByteArrayOutputStream ObjectInputStream ObjectOutputStream)
           (java.util Map Map$Entry)
           (java.util.concurrent CyclicBarrier)
           (java.util.function BiConsumer)
           (org.httpkit BytesInputStream)
           (org.httpkit.server AsyncChannel)))

(set! *warn-on-reflection* true)

(def ^:private all-keys
  #{:request-method :uri :query-string :headers :server-name :server-port :remote-addr :scheme :protocol
    :content-type :character-encoding :content-length :body :async-channel :websocket? :start-time})

(defn- seen-by
  "What `look` returns for the request map of `text`, on the worker thread; thrown if it throws."
  ([text look] (seen-by text {} look))
  ([text options look]
   (let [seen (promise)]
     (wire/with-server [{:keys [port]}
                        (fn [req]
                          (deliver seen (try {:value (look req)} (catch Throwable t {:thrown t})))
                          {:status 200})
                        options]
       (is (= 200 (:status (wire/fetch port text))) text)
       (let [{:keys [value ^Throwable thrown]} (deref seen wire/patience-ms {:thrown (ex-info "never called" {})})]
         (if thrown (throw thrown) value))))))

(def ^:private plain (wire/get-request "/a%20b?x=1&y=%C3%A9" ["X-One" "1"]))

(def ^:private post
  (str "POST /p?q HTTP/1.1\r\nHost: example.org:8080\r\nContent-Type: text/plain; charset=\"ISO-8859-1\"\r\n"
       "Cookie: a=1\r\nCookie: b=2\r\nX-Many: 1\r\nX-Many:  2\t\r\nX-Empty:\r\n"
       "Content-Length: 5\r\n\r\nhello"))

;; Keys

(deftest every-key-is-there-with-its-class
  (let [check (fn [req]
                (into {} (for [[k pred] {:request-method keyword? :uri string? :headers map?
                                         :server-name string? :server-port #(instance? Integer %)
                                         :remote-addr string? :scheme keyword? :protocol string?
                                         :content-type string? :character-encoding string?
                                         :content-length #(instance? Integer %)
                                         :body #(instance? BytesInputStream %)
                                         :async-channel #(instance? AsyncChannel %)
                                         :websocket? #(instance? Boolean %)
                                         :start-time #(instance? Long %)
                                         :query-string string?}]
                           [k (boolean (pred (get req k)))])))]
    (is (= (zipmap all-keys (repeat true)) (seen-by post check)))))

(deftest values-of-a-request-with-everything
  (let [req (seen-by post #(-> (into {} %) (update :body slurp :encoding "ISO-8859-1") (dissoc :async-channel)))]
    (is (= {:request-method :post, :uri "/p", :query-string "q", :server-name "example.org", :server-port 8080
            :scheme :http, :protocol "HTTP/1.1", :content-type "text/plain", :character-encoding "ISO-8859-1"
            :content-length 5, :body "hello", :websocket? false, :remote-addr "127.0.0.1"
            :headers {"host" "example.org:8080", "content-type" "text/plain; charset=\"ISO-8859-1\""
                      "cookie" "a=1;b=2", "x-many" "1,2", "x-empty" "", "content-length" "5"}}
           (dissoc req :start-time)))
    (is (instance? PersistentArrayMap (:headers req)))
    (is (every? true? (map (fn [[k v]] (and (string? k) (string? v))) (:headers req))))))

(deftest values-of-a-request-with-nothing
  (let [req (seen-by "GET / HTTP/1.0\r\n\r\n" #(into {} %))]
    (is (= {:request-method :get, :uri "/", :query-string nil, :headers {}, :server-name nil, :server-port 80
            :remote-addr "127.0.0.1", :scheme :http, :protocol "HTTP/1.0", :content-type nil
            :character-encoding "utf8", :content-length 0, :body nil, :websocket? false}
           (dissoc req :async-channel :start-time)))))

(deftest start-time-is-a-nano-time-between-sending-and-handling
  (let [before (System/nanoTime)
        [at handled] (seen-by plain (juxt :start-time (fn [_] (System/nanoTime))))]
    (is (<= before at handled))))

(deftest uris-are-never-decoded-or-judged
  (doseq [[target uri query] [["/" "/" nil] ["/?" "/" ""] ["/a?b?c" "/a" "b?c"] ["/%zz%2F" "/%zz%2F" nil]
                              ["*" "*" nil] ["http://x.y:9/p?q" "http://x.y:9/p" "q"] ["foo" "foo" nil]
                              ["/a#b" "/a#b" nil] ["/\u00e9?\u00fc" "/\u00e9" "\u00fc"]
                              ["/a|\"<>{}^`\\b" "/a|\"<>{}^`\\b" nil]]]
    (is (= [uri query] (seen-by (str "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n") (juxt :uri :query-string)))
        target)))

(deftest hosts
  (doseq [[host name port] [["h" "h" 80] ["h:" "h" 80] ["h:0" "h" 0] ["h:8080:1" "h:8080" 1]
                            ["[::1]:8090" "[::1]" 8090] ["[::1]" "[::1]" 80] ["a,b" "a,b" 80]]]
    (is (= [name port] (seen-by (str "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n") (juxt :server-name :server-port)))
        host)))

(deftest remote-addresses
  (let [request (fn [& lines] (str "GET / HTTP/1.1\r\nHost: h\r\n" (apply str (map #(str % "\r\n") lines)) "\r\n"))]
    (testing "X-Forwarded-For counts, unvalidated, up to the first comma"
      (doseq [[lines expected] [[["X-Forwarded-For: 1.2.3.4, 5.6.7.8"] "1.2.3.4"]
                                [["X-Forwarded-For: <script>"] "<script>"]
                                [["X-Forwarded-For: 1.1.1.1" "X-Forwarded-For: 2.2.2.2"] "1.1.1.1"]
                                [["X-Forwarded-For:"] ""]]]
        (is (= expected (seen-by (apply request lines) :remote-addr)) lines)))
    (testing "unless that is switched off"
      (is (= "127.0.0.1" (seen-by (request "X-Forwarded-For: 1.2.3.4") {:legacy-unsafe-remote-addr? false}
                                  :remote-addr))))
    (testing "a trailer does not"
      (is (= ["127.0.0.1" "9.9.9.9"]
             (seen-by (str "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "1\r\nx\r\n0\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
                      (juxt :remote-addr #(get-in % [:headers "x-forwarded-for"]))))))))

(deftest deviations-from-ring-that-are-kept
  (testing "SPEC: :body is an InputStream; here nil without content"
    (is (nil? (seen-by plain :body))))
  (testing "SPEC: :server-port is the port that the request came in on; here that of Host"
    (is (= 80 (seen-by "GET / HTTP/1.1\r\nHost: h\r\n\r\n" :server-port))))
  (testing "SPEC: :server-name is a string; here nil without Host"
    (is (nil? (seen-by "GET / HTTP/1.0\r\n\r\n" :server-name))))
  (testing "SPEC: absent keys are left out; here :query-string and :content-type are there with nil"
    (is (= [[:query-string nil] [:content-type nil]]
           (seen-by "GET / HTTP/1.1\r\nHost: h\r\n\r\n" (juxt #(find % :query-string) #(find % :content-type))))))
  (testing "SPEC: :remote-addr is the client's; here what the client says it is"
    (is (= "me" (seen-by "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: me\r\n\r\n" :remote-addr))))
  (testing "RFC 9112: HTTP/1.1 is what both sides speak; :scheme is :http behind a TLS proxy, too"
    (is (= :http (seen-by "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n\r\n" :scheme)))))

(deftest methods-are-lower-case-keywords
  (doseq [method ["GET" "POST" "PUT" "DELETE" "TRACE" "OPTIONS" "CONNECT" "PATCH" "PROPFIND" "PROPPATCH" "LOCK"
                  "UNLOCK" "REPORT" "ACL" "MOVE" "COPY" "MKCOL" "LIST" "QUERY" "M-SEARCH"]]
    (is (= (keyword (.toLowerCase ^String method java.util.Locale/ROOT))
           (seen-by (str method " / HTTP/1.1\r\nHost: h\r\n\r\n") :request-method)))))

(deftest a-body-is-a-rewindable-stream-of-bytes
  (is (= ["hello" "hello" "ello" 5 0 "BytesInputStream[len=5]" [104 101 108 108 111]]
         (seen-by post
                  (fn [{:keys [^BytesInputStream body]}]
                    (let [available (.available body)
                          first-read (slurp body)
                          text (do (.reset body) (slurp body))]
                      (.reset body)
                      (.read body)
                      (.mark body 100)
                      (slurp body)
                      (.reset body)
                      [first-read text (slurp body) available (.available body) (str body)
                       (mapv int (.bytes body))]))))))

;; An ordinary map

(defn- copy
  "An ordinary map with the same entries."
  [req]
  (reduce (fn [m k] (assoc m k (get req k))) {} all-keys))

(defn- same-for-both
  "Asserts that each of `[text f]` gives the same for the request and for an ordinary map."
  [checks]
  (doseq [[text expected actual]
          (seen-by plain (fn [req]
                           (let [m (copy req)]
                             (vec (for [[text f] checks] [text (f m) (f req)])))))]
    (is (= expected actual) text)
    (is (= actual expected) text)))

(defmacro ^:private same
  "Each form, with `m` in it, gives the same for the request and for an ordinary map with the same entries."
  [& forms]
  `(same-for-both ~(vec (for [form forms] [(pr-str form) `(fn [~'m] ~form)]))))

(deftest reads-like-a-map
  (same (map? m) (coll? m) (associative? m) (counted? m) (ifn? m) (sequential? m) (seqable? m) (vector? m) (record? m)
        (instance? IPersistentMap m) (instance? APersistentMap m) (instance? Map m)
        (count m) (empty? m) (seq {}) (boolean (not-empty m)) (boolean (seq m))
        (m :uri) (m :none) (m :none 7) (:uri m) (:none m 7) (get m :uri) (get m :none) (get m :none :default)
        (get m :body :default) (get m "uri") (get m nil) (get m nil 1)
        (contains? m :uri) (contains? m :body) (contains? m :none) (contains? m "uri") (contains? m nil)
        (find m :uri) (find m :body) (find m :none) (key (find m :uri)) (val (find m :uri))
        (get-in m [:headers "host"]) (get-in m [:headers "none"] 1)
        (set (keys m)) (set (map key m)) (count (vals m)) (set m) (set (map val m)) (set (seq m))
        (every? #(instance? Map$Entry %) m) (every? #(instance? MapEntry %) (seq m))
        (select-keys m [:uri :none :body]) (set/rename-keys (select-keys m [:uri]) {:uri :path})
        (let [{:keys [uri query-string none] :or {none 3} :as all} m] [uri query-string none (= all m)])
        (let [{{host "host"} :headers} m] host)
        (apply hash-map (mapcat identity (select-keys m [:uri :scheme])))
        (reduce-kv (fn [n k v] (assoc n v k)) {} (dissoc m :body))
        (reduce-kv (fn [_ _ _] (reduced :early)) nil m)
        (reduce (fn [n [k _]] (conj n k)) #{} m)
        (into {} m) (into {} (map identity) m) (into {:first 1} m) (into m {:uri 1}) (into m [[:a 1] [:b 2]])
        (zipmap (keys m) (vals m)) (merge m {:uri "/other"}) (merge {:a 1} m) (merge-with vector m {:uri 1})
        (walk/stringify-keys m) (walk/postwalk identity (dissoc m :async-channel)) (walk/keywordize-keys m)
        (walk/prewalk #(if (= "/a%20b" %) :found %) (dissoc m :async-channel))
        (group-by (comp some? val) m) (frequencies (map (comp some? val) m)) (sort (keys m))
        (into (sorted-map) (dissoc m :none)) (set (map first (filter (comp nil? second) m)))))

(deftest changes-like-a-map
  (same (assoc m :uri "/x") (:uri (assoc m :uri "/x")) (count (assoc m :uri "/x"))
        (assoc m :a 1) (count (assoc m :a 1 :b 2)) (:a (assoc m :a 1)) (contains? (assoc m :a nil) :a)
        (assoc m nil 1) (assoc m "s" 1 3 4) (conj m [:a 1]) (conj m {:a 1 :uri 2}) (conj m nil)
        (dissoc m :uri) (count (dissoc m :uri)) (contains? (dissoc m :uri) :uri) (get (dissoc m :uri) :uri :gone)
        (dissoc m :none) (count (dissoc m :none)) (dissoc (assoc m :a 1) :a) (count (dissoc (assoc m :a 1) :a))
        (dissoc (assoc m :uri 1) :uri) (apply dissoc m (keys m)) (empty? (apply dissoc m (keys m)))
        (assoc (dissoc m :uri) :uri 5) (dissoc (dissoc m :uri) :body)
        (update m :uri str "!") (update m :none (fnil inc 0)) (update-in m [:headers "host"] str "!")
        (assoc-in m [:params :a] 1) (update-in m [:headers] dissoc "host") (get-in (assoc-in m [:a :b] 1) [:a :b])
        (empty m) (meta (empty (with-meta m {:a 1}))) (assoc (empty m) :a 1)
        (reduce (fn [m i] (assoc m (keyword (str "k" i)) i)) m (range 100))
        (reduce (fn [m i] (dissoc m (keyword (str "k" i))))
                (reduce (fn [m i] (assoc m (keyword (str "k" i)) i)) m (range 40)) (range 39))
        (persistent! (assoc! (transient m) :a 1)) (persistent! (dissoc! (transient m) :uri))
        (persistent! (reduce-kv assoc! (transient m) {:a 1 :b 2}))
        (keys (into (empty m) {:a 1}))))

(deftest changing-it-leaves-it-as-it-was
  (is (= [all-keys "/a%20b" nil]
         (seen-by plain (fn [req]
                          (assoc req :uri 1 :a 2)
                          (dissoc req :uri)
                          (persistent! (assoc! (transient req) :uri 3))
                          [(set (keys req)) (:uri req) (:a req)])))))

(deftest is-equal-both-ways-and-hashes-alike
  (let [checks (seen-by plain
                        (fn [req]
                          (let [m (copy req)]
                            {:request=map   (= req m)
                             :map=request   (= m req)
                             :itself        (= req req)
                             :equals        (.equals ^Object req m)
                             :equals-back   (.equals ^Object m req)
                             :hash          (= (hash req) (hash m))
                             :hashCode      (= (.hashCode ^Object req) (.hashCode ^Object m))
                             :changed       (= (assoc req :a 1) (assoc m :a 1))
                             :changed-hash  (= (hash (assoc req :uri 1)) (hash (assoc m :uri 1)))
                             :changed-back  (= (assoc m :uri 1) (assoc req :uri 1))
                             :as-key        (= :yes (get {m :yes} req))
                             :as-key-back   (= :yes (get {req :yes} m))
                             :in-a-set      (contains? #{m} req)
                             :java-map      (= req (java.util.HashMap. ^Map m))
                             :unequal       (not= req (assoc m :uri "other"))
                             :unequal-back  (not= (dissoc m :uri) req)
                             :not-a-vector  (not= req [1])
                             :not-nil       (not= req nil)})))]
    (doseq [[check right?] checks]
      (is (true? right?) check))))

(deftest carries-metadata-like-a-map
  (is (= [nil {:a 1} {:a 1} {:a 1} {:a 1} {:a 2} true nil]
         (seen-by plain (fn [req]
                          (let [with (with-meta req {:a 1})]
                            [(meta req) (meta with) (meta (assoc with :uri 1)) (meta (assoc with :b 1))
                             (meta (dissoc with :uri)) (meta (vary-meta with update :a inc))
                             (= req with) (meta (with-meta with nil))]))))))

(deftest prints-readably
  (let [text (seen-by plain #(binding [*print-length* nil] (pr-str (dissoc % :async-channel))))
        read (edn/read-string text)]
    (is (= "/a%20b" (:uri read)))
    (is (= {"host" "localhost" "x-one" "1"} (:headers read)))
    (is (= (disj all-keys :async-channel) (set (keys read)))))
  (testing "and with its channel and body, as one line that starts like a map"
    (doseq [text (seen-by post (juxt pr-str str #(with-out-str (print %))))]
      (is (str/starts-with? text "{"))
      (is (re-find #":uri \"?/p\"?" text) text))))

(deftest is-a-java-map
  (is (= {:get "/a%20b" :default 1 :size 16 :empty false :has true :has-value true :keys all-keys
          :entries 16 :values 16 :for-each 16 :put true :remove true :clear true :iterator 16}
         (seen-by plain
                  (fn [^Map req]
                    (let [refused? (fn [f] (try (f) false (catch UnsupportedOperationException _ true)))
                          n (atom 0)]
                      (.forEach req (reify BiConsumer (accept [_ _ _] (swap! n inc))))
                      {:get (.get req :uri) :default (.getOrDefault req :none 1) :size (.size req)
                       :empty (.isEmpty req) :has (.containsKey req :uri) :has-value (.containsValue req "/a%20b")
                       :keys (set (.keySet req)) :entries (count (.entrySet req)) :values (count (.values req))
                       :for-each @n :iterator (count (iterator-seq (.iterator (.entrySet req))))
                       :put (refused? #(.put req :a 1)) :remove (refused? #(.remove req :uri))
                       :clear (refused? #(.clear req))}))))))

(deftest serializes-as-the-map-it-stands-for
  (is (= "/a%20b"
         (seen-by plain
                  (fn [req]
                    (let [bytes (ByteArrayOutputStream.)
                          ;; A channel is no data.
                          data (dissoc req :async-channel)]
                      (with-open [out (ObjectOutputStream. bytes)] (.writeObject out data))
                      (with-open [in (ObjectInputStream. (ByteArrayInputStream. (.toByteArray bytes)))]
                        (:uri (.readObject in)))))))))

(deftest first-access-is-thread-safe
  (let [results (seen-by post
                         (fn [req]
                           (let [threads 8
                                 barrier (CyclicBarrier. threads)
                                 look    #(do (.await barrier)
                                              (mapv (partial get req) (if (odd? %) (seq all-keys) (reverse (seq all-keys)))))]
                             (mapv deref (mapv #(future (look %)) (range threads))))))
        by-key  (fn [i result] (zipmap (if (odd? i) (seq all-keys) (reverse (seq all-keys))) result))
        maps    (map-indexed by-key results)]
    (is (apply = (map #(dissoc % :body :async-channel) maps)))
    (is (every? #(identical? (:body (first maps)) (:body %)) maps) "one body")
    (is (every? #(identical? (:async-channel (first maps)) (:async-channel %)) maps) "one channel")))

(deftest stays-readable-after-the-answer
  (let [kept (promise)]
    (wire/with-server [{:keys [port]} (fn [req] (deliver kept req) {:status 200 :body "ok"}) {}]
      (is (= "ok" (:body (wire/fetch port post))))
      (let [req (deref kept wire/patience-ms nil)]
        (is (= "hello" (slurp (:body req))))
        (is (= "127.0.0.1" (:remote-addr req)))
        (is (= all-keys (set (keys req))))
        (is (false? (server/open? (:async-channel req))))
        (is (false? (server/send! (:async-channel req) "late")))))))

(deftest keys-are-interned-keywords
  (is (every? #(instance? Keyword %) (seen-by plain keys))))
