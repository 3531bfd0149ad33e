(ns httpkit.client-request-test
  "What goes over the wire, and what is refused before it."
  (:require [clojure.string :as str]
            [clojure.test :refer [are deftest is testing]]
            [httpkit.client-peer :as peer]
            [httpkit.files :as files]
            [org.httpkit.client :as client])
  (:import [java.io ByteArrayInputStream File FileInputStream FileNotFoundException InputStream IOException
            RandomAccessFile]
           [java.net URISyntaxException]
           [java.nio ByteBuffer]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]
           [java.util ArrayDeque ArrayList HashMap LinkedHashSet]
           [org.httpkit ProtocolException]))

(def ^:private ok (peer/answering (constantly "ok")))

(defn- sent
  "The request as it arrived; `opts` may be a function of the peer's URL."
  [opts]
  (peer/with-peer [p ok]
    (let [opts (if (fn? opts) (opts (:url p)) (assoc opts :url (str (:url p) (:url opts "/p"))))
          {:keys [error]} @(client/request opts nil)]
      (is (nil? error))
      (update (first @(:requests p)) :headers
              (fn [headers] (mapv (fn [[k v]] [k (str/replace v (str (:port p)) "PORT")]) headers))))))

(def ^:private automatic
  [["Host" "127.0.0.1:PORT"] ["User-Agent" "http-kit/2.0"] ["Accept-Encoding" "gzip, deflate"]])

(deftest user-headers-come-first-in-their-order-camel-cased
  (is (= (into [["X-Api-Key" "k"] ["A" "1"] ["A" "2"] ["Etag" "v"] ["X-K" ":k"] ["X_y" "5"]] automatic)
         (:headers (sent {:headers (array-map "x-API-key" "k" "a" ["1" "2" nil] "ETAG" "v" "x-nil" nil "x-none" []
                                              "x-k" :k "x_y" 5)})))))

(deftest headers-keep-their-order-however-many-there-are
  (let [pairs (mapv (fn [i] [(str "H" i) (str i)]) (range 20))
        given (into (apply array-map (mapcat identity pairs)) nil)]
    (are [opts more] (= (into pairs more) (filterv (set (into pairs more)) (:headers (sent (assoc opts :headers given)))))
      {}                        []
      {:user-agent "me"}        [["User-Agent" "me"]]
      {:oauth-token "t"}        [["Authorization" "Bearer t"]]
      {:user-agent "me" :basic-auth "u:p" :form-params {:a 1}}
      [["Content-Type" "application/x-www-form-urlencoded"] ["Authorization" "Basic dTpw"] ["User-Agent" "me"]])
    (testing "nor is it lost in a redirect"
      (peer/with-peer [p (peer/answering #(if (str/includes? (:line %) "/from")
                                            "HTTP/1.1 302 X\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n"
                                            "ok"))]
        @(client/get (str (:url p) "/from") {:headers given})
        (is (= pairs (filterv (set pairs) (:headers (last @(:requests p))))))))))

(deftest a-java-map-of-options-is-taken
  (let [{:keys [line body headers]} (sent #(HashMap. {:url (str % "/p") :method :post :body "b" :user-agent "u"}))]
    (is (= ["POST /p HTTP/1.1" "b"] [line body]))
    (is (some #{["User-Agent" "u"]} headers))))

(deftest headers-with-several-values-have-a-line-for-each
  (doseq [values [["1" :k nil 2] (list "1" :k 2) (into-array String ["1" ":k" "2"]) (object-array ["1" :k nil 2])
                  (ArrayList. ["1" nil :k 2]) (LinkedHashSet. ["1" :k 2]) (ArrayDeque. ["1" :k 2])]]
    (testing (class values)
      (is (= (into [["X" "1"] ["X" ":k"] ["X" "2"]] automatic) (:headers (sent {:headers {"x" values}}))))))
  (doseq [none [(into-array String []) (ArrayList.)]]
    (testing (class none)
      (is (= automatic (:headers (sent {:headers {"x" none "transfer-encoding" none}}))))))
  (testing "also those that have only one"
    (doseq [host [(into-array String ["h.test"]) (ArrayList. ["h.test"])]]
      (is (= ["Host" "h.test"] (first (:headers (sent {:headers {"host" host}}))))))
    (is (= ["Content-Length" "0"]
           (first (:headers (sent {:headers {"content-length" (into-array String ["0"])}})))))))

(deftest user-headers-replace-or-suppress-the-automatic-ones
  (are [headers expected] (= expected (:headers (sent {:headers headers})))
    {"HOST" "h.test"}        (into [["Host" "h.test"]] (rest automatic))
    {"user-agent" "me"}      [["User-Agent" "me"] (first automatic) (last automatic)]
    {"user-agent" nil}       [(first automatic) (last automatic)]
    {"accept-encoding" []}   (vec (butlast automatic))
    {"Content-Length" "000"} (into [["Content-Length" "000"]] automatic))
  (is (= (vec (butlast automatic)) (:headers (sent {:auto-compression? false})))))

(deftest a-body-has-its-length-at-the-users-place-or-last
  (let [post {:method :post :body "é☃"}]
    (is (= (conj automatic ["Content-Length" "5"]) (:headers (sent post))))
    (is (= (into [["Content-Length" "5"] ["X" "1"]] automatic)
           (:headers (sent (assoc post :headers (array-map "content-length" "999" "x" "1"))))))
    (is (= automatic (:headers (sent {:method :post :body nil}))))
    (is (= (conj automatic ["Content-Length" "0"]) (:headers (sent {:method :post :body []}))))))

(deftest targets
  (are [path line] (= (str "GET " line " HTTP/1.1") (:line (sent {:url path})))
    ""                    "/"
    "?a=b"                "/?a=b"
    "/p?q=1#frag"         "/p?q=1"
    "/a/../b/./c//d"      "/a/../b/./c//d"
    "/%7e%2F?x=%c3%a9"    "/%7e%2F?x=%c3%a9"
    "/é/☃?k=é"            "/%C3%A9/%E2%98%83?k=%C3%A9"
    "/p?"                 "/p?"))

(deftest bodies-of-every-kind
  (let [closed (atom false)]
    (are [body out] (= out (:body (sent {:method :post :body body})))
      "text"                                        "text"
      (byte-array [104 105])                        "hi"
      (files/temporary-file "file")                 "file"
      (proxy [ByteArrayInputStream] [(.getBytes "stream")]
        (close [] (reset! closed true)))            "stream"
      (ByteBuffer/wrap (.getBytes "xbufx") 1 3)     "buf"
      (doto (ByteBuffer/allocateDirect 3)
        (.put (.getBytes "buf")) (.flip))           "buf"
      ["a" :b 3]                                    "a:b3"
      (map str (range 5))                           "01234")
    (is @closed "InputStreams are closed"))
  (testing "buffers are consumed"
    (let [buffer (ByteBuffer/wrap (.getBytes "abc"))]
      (sent {:method :post :body buffer})
      (is (zero? (.remaining buffer))))))

(defn- pipe
  "A FileInputStream on a named pipe that is filled with `content`."
  [content]
  (let [path (str (Files/createTempDirectory "client-request" (make-array FileAttribute 0)) "/pipe")]
    (is (zero? (.waitFor (.exec (Runtime/getRuntime) ^"[Ljava.lang.String;" (into-array ["mkfifo" path])))))
    (future (spit path content))
    (try (FileInputStream. path)
         (finally (run! #(.delete ^File %) [(File. path) (.getParentFile (File. path))])))))

(deftest pipes-have-no-length-but-an-end
  (let [long-text (apply str (repeat 1500000 "p"))]
    (doseq [content ["text" long-text]]
      (is (= content (:body (sent {:method :post :body (pipe content)}))))
      (is (str/includes? (:body (sent {:method :post :multipart [{:name "a" :content (pipe content)}]})) content)))))

(deftest large-bodies-are-the-same-on-the-wire
  (let [text (apply str (repeatedly 400000 #(rand-nth "abcdefgh")))
        big  (apply str (repeat 4 text))
        file (files/temporary-file big)]
    (doseq [[kind opts] {"File"            {:body file}
                         "FileInputStream" {:body (FileInputStream. file)}
                         "declared"        {:body (ByteArrayInputStream. (.getBytes ^String big))
                                            :headers {"Content-Length" (str (count big))}}
                         "undeclared"      {:body (ByteArrayInputStream. (.getBytes ^String big))}}]
      (testing kind
        (let [request (sent (assoc opts :method :put))]
          (is (= (str (count big)) (peer/header request "content-length")))
          (is (nil? (peer/header request "transfer-encoding")))
          (is (= big (:body request))))))
    (testing "a multipart file"
      (let [request (sent {:method :post :multipart [{:name "a" :content "x"} {:name "f" :content file}]})]
        (is (= (str (count (:body request))) (peer/header request "content-length")))
        (is (str/includes? (:body request) big))))))

(deftest chunked-bodies-are-sent-as-they-are-read
  (doseq [body [(ByteArrayInputStream. (.getBytes "stream")) (files/temporary-file "stream") "stream" ["str" "eam"]]]
    (let [request (sent {:method :post :body body :chunked? true})]
      (is (= "stream" (:body request)))
      (is (= "chunked" (peer/header request "transfer-encoding")))
      (is (nil? (peer/header request "content-length")))))
  (testing "the source's failure is the request's"
    (peer/with-peer [p (fn [conn] (peer/await-end! conn))]
      (let [broken (proxy [InputStream] []
                     (read ([] -1) ([_ _ _] (throw (IOException. "source")))))
            {:keys [error]} @(client/post (:url p) {:body broken :chunked? true})]
        (is (instance? IOException error))
        (is (= "source" (ex-message error)))))))

(deftest files-that-grow-are-sent-as-long-as-they-were
  (let [n    (* 32 1024 1024)
        file (files/temporary-file "")
        grow (fn [to] (with-open [f (RandomAccessFile. ^File file "rw")] (.setLength f to)))]
    (doseq [body [#(FileInputStream. ^File file) (constantly file)]]
      (grow n)
      (peer/with-peer [p (fn [conn]
                           (let [length (parse-long (peer/header (peer/read-head! conn) "content-length"))]
                             (grow (+ n 1000))
                             (.skipNBytes ^InputStream (:in conn) length)
                             (peer/respond! conn (str length))))]
        (is (= (str n) (:body (deref (client/put (:url p) {:body (body)}) 20000 nil))))))
    (testing "in a multipart body too, and what follows them is in its place"
      (doseq [content [#(FileInputStream. ^File file) (constantly file)]]
        (grow n)
        (peer/with-peer [p (fn [{:keys [^InputStream in] :as conn}]
                             (let [length (parse-long (peer/header (peer/read-head! conn) "content-length"))]
                               (grow (+ n 1000))
                               (.skipNBytes in (- length 150))
                               (peer/respond! conn (String. (.readNBytes in 150) "ISO-8859-1"))))]
          (let [parts [{:name "f" :content (content)} {:name "z" :content "last"}]]
            (is (re-find #"\r\n\r\nlast\r\n--[^\r]*--\r\n$"
                         (str (:body (deref (client/put (:url p) {:multipart parts}) 20000 nil)))))))))))

(deftest declared-lengths-must-be-true
  (peer/with-peer [p (fn [conn] (peer/await-end! conn))]
    (doseq [off [-1 1]]
      (let [n    (* 2 1024 1024)
            body (ByteArrayInputStream. (byte-array n))
            {:keys [error]} @(client/post (:url p) {:body body :headers {"Content-Length" (str (+ n off))}})]
        (is (instance? IOException error) off))))
  (testing "in each form that a header's value may have"
    (peer/with-peer [p (fn [conn] (peer/await-end! conn))]
      (let [n (* 2 1024 1024)]
        (doseq [declared [(inc n) [(str (inc n))] (list (inc n)) (into-array [(inc n)]) (ArrayList. [(inc n)])]]
          (let [{:keys [error]} (deref (client/post (:url p) {:body    (ByteArrayInputStream. (byte-array n))
                                                              :headers {"content-LENGTH" declared}
                                                              :timeout 5000})
                                       30000 nil)]
            (is (str/includes? (str (ex-message error)) "1 bytes before its length") (class declared))))))))

(deftest mistakes-are-delivered-without-a-connection
  (peer/with-peer [p ok]
    (are [class message opts] (let [e (:error @(client/request (merge {:url (:url p)} opts) nil))]
                                (and (is (= class (clojure.core/class e)))
                                     (is (str/includes? (str (ex-message e)) message))))
      ClassCastException       ""                                {:headers {:a "b"}}
      IllegalArgumentException "Invalid HTTP header name: A b"   {:headers {"a b" "c"}}
      IllegalArgumentException "Invalid HTTP header name: "      {:headers {"" "c"}}
      IllegalArgumentException "Invalid character in HTTP header value: A has a control character at index 1" {:headers {"a" "b\r\nc: d"}}
      IllegalArgumentException "Invalid character in HTTP header value: A has a control character at index 1" {:headers {"a" "b\nc"}}
      IllegalArgumentException "Invalid character in HTTP header value: User-Agent has a control character at index 1" {:user-agent "b\u0000"}
      IllegalArgumentException "Invalid character in HTTP header value: A has a control character at index 1" {:headers {"a" ["ok" "b\r"]}}
      ProtocolException "Chunked request bodies are not supported"      {:headers {"Transfer-Encoding" "chunked"}}
      ProtocolException "Request header must have one value: Host"      {:headers {"Host" ["a" "b"]}}
      ProtocolException "Request header must have one value: Host"      {:headers {"Host" nil}}
      ProtocolException "Request header must have one value: Host"      {:headers {"Host" (into-array String ["a" "b"])}}
      ProtocolException "Request header must have one value: Host"      {:headers {"Host" (ArrayList.)}}
      ProtocolException "Chunked request bodies are not supported"      {:headers {"Transfer-Encoding" (ArrayList. ["x"])}}
      IllegalArgumentException "Invalid character in HTTP header value: A has a control character at index 1" {:headers {"a" (into-array String ["b\r"])}}
      IllegalArgumentException "Invalid HTTP header value: X-A is of class byte[], expected a String or a seq of Strings"   {:headers {"x-a" (byte-array 3)}}
      IllegalArgumentException "Invalid HTTP header value: X-A is of class char[], expected a String or a seq of Strings"   {:headers {"x-a" ["b" (char-array "secret")]}}
      IllegalArgumentException "Invalid HTTP header value: X-A is of class java.lang.String[], expected a String or a seq of Strings" {:headers {"x-a" [(into-array String ["b"])]}}
      IllegalArgumentException "Invalid HTTP header value: Proxy-Authorization is of class char[]" {:headers {"proxy-authorization" (char-array "secret")}}
      ProtocolException "Duplicate request header: Host"                {:headers {"Host" "a" "host" "b"}}
      ProtocolException "Content-Length without a request body must be 0" {:headers {"Content-Length" "5"}}
      ProtocolException "Invalid Content-Length: x"                     {:headers {"Content-Length" "x"}}
      RuntimeException  (str "class java.lang.Long is not understandable: a request's :body is nil, a String, byte[],"
                          " ByteBuffer, InputStream, File or a sequence") {:body 42}
      FileNotFoundException ""                                          {:body (File. "/does/not/exist")}
      FileNotFoundException "Is a directory"                            {:body (File. "/")}
      NullPointerException  "nil in a request's :body, a sequence"      {:body ["a" nil]}
      URISyntaxException "Illegal character"      {:url (str (:url p) "/a|b")}
      URISyntaxException "http://host:port/path"  {:url "127.0.0.1:80"}
      URISyntaxException ""                       {:url "http://"}
      IllegalArgumentException "host is null: /foo"        {:url "/foo"}
      IllegalArgumentException "host is null: localhost:9" {:url "localhost:9"}
      IllegalArgumentException "http://host:port/path"     {:url "foo"}
      IllegalArgumentException "http://host:port/path"     {:url "http:///x"}
      IllegalArgumentException "http://host:port/path"     {:proxy-url "localhost"}
      IllegalArgumentException "java.net.IDN/toASCII"      {:url "http://\u00e9.test/"}
      IllegalArgumentException "host is null: http://a,b/" {:url "http://a,b/"}
      IllegalArgumentException "should have: a_b"          {:url "http://a_b/"}
      IllegalArgumentException "port out of range:99999"   {:url "http://127.0.0.1:99999/"}
      ProtocolException "ftp is not supported"             {:url "ftp://h.test/"}
      ProtocolException "No protocol specified"            {:url "//h.test/"}
      ProtocolException "Proxy tunneling is not supported" {:proxy-url (:url p) :tunnel? true}
      ProtocolException "socks5 for proxy needs :proxy-tunnel? true"  {:proxy-url "socks5://127.0.0.1:1"}
      ProtocolException "SOCKS5H for proxy needs :proxy-tunnel? true" {:proxy-url "SOCKS5H://127.0.0.1:1"}
      ProtocolException "socks4 for proxy is not supported"           {:proxy-url "socks4://127.0.0.1:1"}
      IllegalArgumentException "proxy host is null: localhost" {:proxy-url "localhost"}
      IllegalArgumentException "proxy host is null: http://127.0.0.1:-1 (:proxy-host needs :proxy-port)"
      {:proxy-host "http://127.0.0.1"})
    (is (empty? @(:sockets p)))))

(deftest credentials-are-in-no-error-text
  (doseq [url  ["http://user:secret@bad,host:80/" "http://user:secret@h:80/ " "http://user:s#cret@h/" "//user:se@cret@h"]
          opts [{:url url} {:url "http://t.test/" :proxy-url url} {:url "http://t.test/" :proxy-url url :proxy-tunnel? true}]]
    (let [text (str (:error @(client/request opts nil)))]
      (is (str/includes? text "//***@"))
      (is (not (re-find #"s.?.?cret" text)) text))))

(deftest mistakes-in-options-are-thrown
  (are [class opts] (thrown? class (client/request opts nil))
    FileNotFoundException    {:url "http://h/" :multipart [{:name "f" :content (File. "/does/not/exist")}]}
    FileNotFoundException    {:url "http://h/" :multipart [{:name "f" :content (File. "/")}]}
    NullPointerException     {:url nil}
    ClassCastException       {:url 5}
    RuntimeException         {:url "http://h/" :method :foo}
    IllegalArgumentException {:url "http://h/" :as :bogus}
    IllegalArgumentException {:url "http://h/" :as nil}
    NullPointerException     {:url "http://h/" :idle-timeout nil}
    ArithmeticException      {:url "http://h/" :timeout 3000000000}))

;;; Proxies

(deftest plain-proxies-get-absolute-targets
  (let [via (fn [url opts] (sent (fn [proxy] (merge {:url url :proxy-url proxy} opts))))]
    (is (= {:line    "GET http://t.test:81/a?b=c HTTP/1.1"
            :headers [["Host" "t.test:81"] ["User-Agent" "http-kit/2.0"] ["Accept-Encoding" "gzip, deflate"]
                      ["Proxy-Connection" "Keep-Alive"]]
            :body    nil}
           (via "http://t.test:81/a?b=c#f" nil)))
    (is (= "GET https://t.test/a HTTP/1.1" (:line (via "https://t.test/a" nil))) "https too, in the clear")
    (is (= "GET http://t.test HTTP/1.1" (:line (via "http://t.test" nil))))
    (is (= "pa" (peer/header (via "http://t.test/" {:headers {"Proxy-Authorization" "pa"}}) "proxy-authorization"))))
  (testing "host and port"
    (peer/with-peer [p ok]
      (is (= 200 (:status @(client/get "http://t.test/" {:proxy-host "http://127.0.0.1" :proxy-port (:port p)
                                                         :proxy-url "http://127.0.0.1:1"}))))))
  (testing "credentials of the proxy URL"
    (peer/with-peer [p ok]
      @(client/get "http://t.test/" {:proxy-url (str/replace (:url p) "http://" "http://us%65r:p%40ss@")})
      (is (= "Basic dXNlcjpwQHNz" (peer/header (first @(:requests p)) "proxy-authorization"))))))

(def ^:private proxy-credentials {"PROXY-authorization" "Bearer secret"})

(deftest credentials-for-a-proxy-are-sent-to-proxies-alone
  (is (nil? (peer/header (sent {:headers proxy-credentials}) "proxy-authorization")))
  (is (nil? (peer/header (sent {:headers {"Proxy-Authorization" ["a" "b"]}}) "proxy-authorization")))
  (testing "over redirects to another origin too"
    (peer/with-peer [target ok]
      (let [away (str "HTTP/1.1 302 X\r\nLocation: " (str/replace (:url target) "127.0.0.1" "localhost")
                      "/t\r\nContent-Length: 0\r\n\r\n")]
        (peer/with-peer [p (peer/answering (constantly away))]
          (let [{:keys [body opts]} @(client/get (:url p) {:headers proxy-credentials})]
            (is (= "ok" body))
            (is (empty? (:headers opts))))
          (is (= [nil nil] (map #(peer/header % "proxy-authorization")
                                (concat @(:requests p) @(:requests target)))))))))
  (testing "which every hop through the proxy gets"
    (peer/with-peer [p (peer/answering (fn [{:keys [line]}]
                                         (if (str/includes? line "//a.test/")
                                           "HTTP/1.1 302 X\r\nLocation: http://b.test/\r\nContent-Length: 0\r\n\r\n"
                                           "ok")))]
      (is (= "ok" (:body @(client/get "http://a.test/" {:proxy-url (:url p) :headers proxy-credentials}))))
      (is (= ["Bearer secret" "Bearer secret"] (map #(peer/header % "proxy-authorization") @(:requests p)))))))

(defn- tunnel-proxy
  "Answers CONNECT with `status`, then is the target itself."
  [status]
  (fn [conn]
    (swap! (:requests conn) conj (peer/read-head! conn))
    (peer/send! conn "HTTP/1.1 " status " X\r\n\r\n")
    ((peer/answering (constantly "through")) conn)))

(defn- with-userinfo [p userinfo]
  (str/replace (:url p) "http://" (str "http://" userinfo "@")))

(deftest a-proxys-own-credentials-are-sent-unless-the-header-is-given
  (doseq [[given expected] [[nil []] [[] []] [[nil] []] [(into-array String []) []]
                            ["Bearer x" ["Bearer x"]] [["Bearer x"] ["Bearer x"]] [[nil "Bearer x"] ["Bearer x"]]
                            [(into-array ["Bearer x"]) ["Bearer x"]] [(ArrayList. ["Bearer x"]) ["Bearer x"]]
                            [["a" "b"] ["a" "b"]]]
          :let [opts  (fn [p] {:proxy-url (with-userinfo p "u:p") :headers {"proxy-authorization" given}})
                lines (fn [request] (mapv second (filter #(= "Proxy-Authorization" (first %)) (:headers request))))]]
    (testing [(class given) expected]
      (peer/with-peer [p ok]
        (is (= 200 (:status @(client/get "http://t.test/" (opts p)))))
        (is (= expected (lines (first @(:requests p))))))
      (peer/with-peer [p (tunnel-proxy 200)]
        (let [{:keys [body error]} @(client/get "http://t.test/" (assoc (opts p) :proxy-tunnel? true))]
          (if (< 1 (count expected))
            (do (is (= ProtocolException (class error)))
                (is (= "Request header must have one value: Proxy-Authorization" (ex-message error))))
            (do (is (= "through" body))
                (is (= [expected []] (map lines @(:requests p)))))))))))

(deftest tunnels-are-opened-with-connect
  (peer/with-peer [p (tunnel-proxy 200)]
    (let [{:keys [body error]} @(client/get "http://t.test:81/a?b=c"
                                            {:proxy-url (str/replace (:url p) "http://" "http://u:p@")
                                             :proxy-tunnel? true :headers {"X" "1"}})
          [connect request] @(:requests p)]
      (is (= "through" body))
      (is (nil? error))
      (is (= "CONNECT t.test:81 HTTP/1.1" (:line connect)))
      (is (= "t.test:81" (peer/header connect "host")))
      (is (= "Basic dTpw" (peer/header connect "proxy-authorization")))
      (is (= "GET /a?b=c HTTP/1.1" (:line request)))
      (is (nil? (peer/header request "proxy-authorization")) "the target never sees the proxy's credentials")
      (is (nil? (peer/header request "proxy-connection")))))
  (testing "the user's own header is the proxy's, too"
    (peer/with-peer [p (tunnel-proxy 200)]
      @(client/get "http://t.test/" {:proxy-url (:url p) :proxy-tunnel? true
                                     :headers {"proxy-authorization" "Bearer x"}})
      (let [[connect request] @(:requests p)]
        (is (= "Bearer x" (peer/header connect "proxy-authorization")))
        (is (nil? (peer/header request "proxy-authorization"))))))
  (testing "a refusal is an error, never the answer"
    (peer/with-peer [p (tunnel-proxy 407)]
      (let [{:keys [status error]} @(client/get "http://t.test/" {:proxy-url (:url p) :proxy-tunnel? true})]
        (is (nil? status))
        (is (instance? Exception error))
        (is (= 1 (count @(:requests p))))))))

(defn- socks-proxy
  "A SOCKS5 proxy (RFC 1928, 1929) that is the target itself; records what it was told."
  [conn]
  (let [in   ^InputStream (:in conn)
        read #(vec (.readNBytes in %))
        text #(String. (byte-array %) "UTF-8")
        [_ n] (read 2)
        methods (set (read n))]
    (if (methods 2)
      (do (peer/send-bytes! conn (byte-array [5 2]))
          (let [[_ n] (read 2) user (read n) [n] (read 1) password (read n)]
            (swap! (:requests conn) conj [(text user) (text password)])
            (peer/send-bytes! conn (byte-array [1 0]))))
      (peer/send-bytes! conn (byte-array [5 0])))
    (let [[_ command _ type] (read 4)
          host (case (int type) 3 (text (read (first (read 1)))) 1 (str/join "." (read 4)))
          [hi lo] (read 2)]
      (swap! (:requests conn) conj [command host (+ (* 256 (bit-and hi 255)) (bit-and lo 255))])
      (peer/send-bytes! conn (byte-array [5 0 0 1 0 0 0 0 0 0])))
    ((peer/answering (constantly "through")) conn)))

(deftest socks-proxies-resolve-the-name
  (peer/with-peer [p socks-proxy]
    (let [url (str "socks5://127.0.0.1:" (:port p))]
      (is (= "through" (:body @(client/get "http://t.test:81/a" {:proxy-url url :proxy-tunnel? true}))))
      (is (= [[1 "t.test" 81]] (butlast @(:requests p))))
      (is (= "GET /a HTTP/1.1" (:line (last @(:requests p)))))))
  (peer/with-peer [p socks-proxy]
    (is (= "through" (:body @(client/get "http://t.test/" {:proxy-url (str "socks5://u:p@127.0.0.1:" (:port p))
                                                           :proxy-tunnel? true}))))
    (is (= [["u" "p"] [1 "t.test" 80]] (butlast @(:requests p)))))
  (testing "with a name and password that have any character"
    (doseq [[userinfo pair] {"a%3Ab:c"       ["a:b" "c"]
                             "a:b%3Ac"       ["a" "b:c"]
                             "a:b:c"         ["a" "b:c"]
                             "us%65r:p%40ss" ["user" "p@ss"]
                             "%C3%A9:100%25" ["é" "100%"]
                             "u:%252F"       ["u" "%2F"]
                             "a%3Ab:"        ["a:b" ""]}
            host            ["127.0.0.1" "localhost"]]
      (peer/with-peer [p socks-proxy]
        (is (= "through" (:body @(client/get "http://t.test/" {:proxy-url (str "socks5://" userinfo "@" host ":" (:port p))
                                                               :proxy-tunnel? true}))))
        (is (= pair (first @(:requests p))) userinfo)))))
